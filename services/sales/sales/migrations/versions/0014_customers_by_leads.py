"""Activities know whether they have their customer by their lead."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE activities ADD COLUMN customer_by_lead boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
