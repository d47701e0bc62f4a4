"""What is done when somebody creates a lead that is probably there already."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """ALTER TABLE lead_handling
            ADD COLUMN duplicates text NOT NULL DEFAULT 'WARN',
            ADD COLUMN duplicates_min_score integer NOT NULL DEFAULT 65"""
    )
    op.execute(
        "ALTER TABLE lead_handling ADD CONSTRAINT lead_handling_duplicates CHECK"
        " (duplicates IN ('OFF', 'WARN', 'REFUSE') AND duplicates_min_score BETWEEN 1 AND 100) NOT VALID"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
