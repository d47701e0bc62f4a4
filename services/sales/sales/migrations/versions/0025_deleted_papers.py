"""Notes and files that were deleted before their record are found by it."""

from alembic import op

from chassis.schema import index_deleted_papers

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        index_deleted_papers()


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
