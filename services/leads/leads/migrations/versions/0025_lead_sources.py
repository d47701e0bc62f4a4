"""Lists of lead sources, and the source of what comes from a mailbox."""

from alembic import op

from chassis.value_lists.schema import install_value_lists

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install_value_lists()
    op.execute("ALTER TABLE mail_captures ADD COLUMN lead_source_key text NOT NULL DEFAULT ''")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
