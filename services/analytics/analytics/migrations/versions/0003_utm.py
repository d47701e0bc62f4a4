"""By which UTM parameters leads came. Leads from before have none until the facts are rebuilt."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE leads ADD COLUMN utm_source text NOT NULL DEFAULT '', ADD COLUMN utm_medium text NOT NULL DEFAULT '',"
        " ADD COLUMN utm_campaign text NOT NULL DEFAULT ''"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
