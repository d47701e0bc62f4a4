"""Which competitors bid for an opportunity, and who of them got it."""

from alembic import op

from chassis.schema import build_index

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What stands here is kept when the making of the index has failed, and is then repeated.
    op.execute(
        "ALTER TABLE opportunities ADD COLUMN IF NOT EXISTS competitor_ids uuid[] NOT NULL DEFAULT '{}',"
        " ADD COLUMN IF NOT EXISTS competitor_names text[] NOT NULL DEFAULT '{}',"
        " ADD COLUMN IF NOT EXISTS lost_to_competitor_id uuid"
    )
    op.execute(
        "-- squawk-ignore ban-drop-constraint\nALTER TABLE opportunities"
        " DROP CONSTRAINT IF EXISTS opportunities_competitors_check"
    )
    op.execute(
        "ALTER TABLE opportunities ADD CONSTRAINT opportunities_competitors_check"
        " CHECK (cardinality(competitor_ids) = cardinality(competitor_names) AND (lost_to_competitor_id IS NULL"
        " OR (status = 'LOST' AND lost_to_competitor_id = ANY (competitor_ids)))) NOT VALID"
    )
    with op.get_context().autocommit_block():
        build_index(
            "opportunities_competitors",
            "opportunities USING gin (competitor_ids) WHERE deleted_at IS NULL",
        )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
