"""Opportunities are found by name when files of activities name them."""

from alembic import op

from chassis.schema import build_index

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        build_index("opportunities_name", "opportunities (tenant_id, name) WHERE deleted_at IS NULL")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
