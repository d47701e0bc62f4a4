"""The source of the leads of a form."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE web_forms ADD COLUMN lead_source_key text NOT NULL DEFAULT ''")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
