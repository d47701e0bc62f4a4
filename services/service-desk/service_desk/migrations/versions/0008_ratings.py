"""How content customers were with what was done about their tickets."""

from alembic import op

from chassis.schema import build_index

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # First, for it may be repeated when the rest has failed.
    op.execute(
        """ALTER TABLE tickets
            ADD COLUMN IF NOT EXISTS rating smallint,
            ADD COLUMN IF NOT EXISTS rating_comment text NOT NULL DEFAULT '',
            ADD COLUMN IF NOT EXISTS rate_time timestamptz"""
    )
    with op.get_context().autocommit_block():
        build_index("tickets_rate_time", "tickets (tenant_id, rate_time, id) WHERE deleted_at IS NULL")
    op.execute(
        "ALTER TABLE tickets ADD CONSTRAINT tickets_rated CHECK ((rating IS NULL) = (rate_time IS NULL)"
        " AND rating BETWEEN 1 AND 5) NOT VALID"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
