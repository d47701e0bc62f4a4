"""Which competitors bid for an opportunity, and who of them got it."""

from alembic import op

from chassis.schema import build_index, protect

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_NAMES = """
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version bigint NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (tenant_id, id)
"""
_COMPETITORS = """
    tenant_id uuid NOT NULL,
    competitor_id uuid NOT NULL,
    opportunity_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, competitor_id, opportunity_id),
    FOREIGN KEY (tenant_id, opportunity_id) REFERENCES opportunities (tenant_id, id) ON DELETE CASCADE
"""
_KEEP = """
    CREATE FUNCTION opportunity_competitors_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'UPDATE' THEN
            DELETE FROM opportunity_competitors
                WHERE tenant_id = NEW.tenant_id AND opportunity_id = NEW.id AND competitor_id <> ALL (NEW.competitor_ids);
        END IF;
        INSERT INTO opportunity_competitors (tenant_id, competitor_id, opportunity_id)
            SELECT NEW.tenant_id, one, NEW.id FROM unnest(NEW.competitor_ids) AS one ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$
"""
# Replicas of the version before open an opportunity again without knowing to whom it was lost.
_NOT_LOST = """
    CREATE FUNCTION opportunity_not_lost() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.lost_to_competitor_id := NULL;
        RETURN NEW;
    END $$
"""


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # What stands here is kept when the making of the index has failed, and is then repeated.
        op.execute(
            "ALTER TABLE opportunities ADD COLUMN IF NOT EXISTS competitor_ids uuid[] NOT NULL DEFAULT '{}',"
            " ADD COLUMN IF NOT EXISTS lost_to_competitor_id uuid"
        )
        build_index(
            "opportunities_contested",
            "opportunities (tenant_id, status, close_date) WHERE deleted_at IS NULL AND competitor_ids <> '{}'",
        )
    op.execute(f"CREATE TABLE competitor_names ({_NAMES})")
    op.execute(f"CREATE TABLE opportunity_competitors ({_COMPETITORS})")
    op.execute(
        "CREATE INDEX opportunity_competitors_of ON opportunity_competitors (tenant_id, opportunity_id)"
    )
    protect("competitor_names")
    protect("opportunity_competitors")
    op.execute(_KEEP)
    op.execute(_NOT_LOST)
    op.execute(
        "CREATE TRIGGER opportunity_competitors_made AFTER INSERT ON opportunities FOR EACH ROW"
        " WHEN (NEW.competitor_ids <> '{}') EXECUTE FUNCTION opportunity_competitors_kept()"
    )
    op.execute(
        "CREATE TRIGGER opportunity_competitors_changed AFTER UPDATE ON opportunities FOR EACH ROW"
        " WHEN (NEW.competitor_ids <> OLD.competitor_ids) EXECUTE FUNCTION opportunity_competitors_kept()"
    )
    op.execute(
        "CREATE TRIGGER opportunity_not_lost BEFORE UPDATE ON opportunities FOR EACH ROW"
        " WHEN (NEW.status <> 'LOST' AND NEW.lost_to_competitor_id IS NOT NULL) EXECUTE FUNCTION opportunity_not_lost()"
    )
    op.execute(
        "ALTER TABLE opportunities ADD CONSTRAINT opportunities_competitors_check CHECK"
        " (lost_to_competitor_id IS NULL OR lost_to_competitor_id = ANY (competitor_ids)) NOT VALID"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
