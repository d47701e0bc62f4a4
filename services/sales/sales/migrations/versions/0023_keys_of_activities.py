"""What activities are called in another system, from which they came."""

from alembic import op

from chassis.schema import build_index

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE activities ADD COLUMN IF NOT EXISTS external_key text NOT NULL DEFAULT ''")
        build_index(
            "activities_external_key",
            "activities (tenant_id, external_key) WHERE external_key <> '' AND deleted_at IS NULL",
            unique=True,
        )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
