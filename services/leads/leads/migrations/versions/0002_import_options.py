"""An import may name its currency and knows its owner's team; a conversion counts the faults of its steps."""

from alembic import op

from chassis.imports.schema import add_import_options

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_import_options()
    op.execute("ALTER TABLE conversions ADD COLUMN IF NOT EXISTS faults integer NOT NULL DEFAULT 0")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
