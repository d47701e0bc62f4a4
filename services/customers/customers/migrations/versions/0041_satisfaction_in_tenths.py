"""Lists by satisfaction are read by an index: row security lets none answer comparisons of numbers with a point, so it stands in
whole tenths, too.

Replicas of the version before write `satisfaction_index` and read it. So does whoever writes now, until a version to come drops
it: the database keeps the tenths true to it.
"""

from alembic import op

from chassis.schema import build_index, fill

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

_TRUE_TO_IT = """CREATE OR REPLACE FUNCTION customers_tenths() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN
        NEW.satisfaction_tenths := NEW.satisfaction_index * 10;
        RETURN NEW;
    END $$"""


def upgrade() -> None:
    # Each by itself: nobody waits for the customers that are looked through, and a repeat goes on.
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE customers ADD COLUMN IF NOT EXISTS satisfaction_tenths integer")
        op.execute(_TRUE_TO_IT)
        op.execute(
            "CREATE OR REPLACE TRIGGER customers_tenths BEFORE INSERT OR UPDATE OF satisfaction_index, satisfaction_tenths"
            " ON customers FOR EACH ROW EXECUTE FUNCTION customers_tenths()"
        )
        fill(
            "customers",
            "satisfaction_tenths = satisfaction_index * 10",
            "satisfaction_tenths IS NULL AND satisfaction_index IS NOT NULL",
        )
        build_index(
            "customers_satisfaction_tenths", "customers (tenant_id, satisfaction_tenths, id) WHERE deleted_at IS NULL"
        )  # fmt: skip


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
