"""Lists by satisfaction are read by an index: row security lets none answer comparisons of numbers with a point, so it stands in
whole tenths, too.

Replicas of the version before write `satisfaction_index` and read it. So does whoever writes now, until a version to come drops
it: the database keeps the tenths true to it.
"""

from uuid import UUID

from alembic import op
from sqlalchemy import text

from chassis.schema import build_index, owner_role

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
_TRUE_TO_IT = """CREATE OR REPLACE FUNCTION customers_tenths() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN
        NEW.satisfaction_tenths := NEW.satisfaction_index * 10;
        RETURN NEW;
    END $$"""
_SOME = (
    "SELECT tenant_id AS tenant, id FROM customers WHERE (tenant_id, id) > (CAST(:tenant AS uuid), CAST(:id AS uuid))"
    " ORDER BY tenant_id, id LIMIT :most"
)
_NOTE = (
    "UPDATE customers SET satisfaction_tenths = satisfaction_index * 10"
    " WHERE (tenant_id, id) > (CAST(:tenant AS uuid), CAST(:id AS uuid))"
    " AND (tenant_id, id) <= (CAST(:to_tenant AS uuid), CAST(:to_id AS uuid))"
    " AND satisfaction_tenths IS NULL AND satisfaction_index IS NOT NULL"
)


def upgrade() -> None:
    owner = owner_role()
    # Each by itself: nobody waits for the customers that are looked through, and a repeat goes on.
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE customers ADD COLUMN IF NOT EXISTS satisfaction_tenths integer")
        op.execute(_TRUE_TO_IT)
        op.execute(
            "CREATE OR REPLACE TRIGGER customers_tenths BEFORE INSERT OR UPDATE OF satisfaction_index, satisfaction_tenths"
            " ON customers FOR EACH ROW EXECUTE FUNCTION customers_tenths()"
        )
        op.execute("DROP POLICY IF EXISTS widening ON customers")
        op.execute(f"CREATE POLICY widening ON customers TO {owner} USING (true) WITH CHECK (true)")
        # Where the SQL is only written down, there are no customers to look at.
        if not op.get_context().as_sql:
            _note()
        op.execute("DROP POLICY widening ON customers")
        build_index(
            "customers_satisfaction_tenths", "customers (tenant_id, satisfaction_tenths, id) WHERE deleted_at IS NULL"
        )  # fmt: skip


def _note() -> None:
    connection = op.get_bind()
    last = {"tenant": UUID(int=0), "id": UUID(int=0)}
    while found := connection.execute(text(_SOME), {**last, "most": _AT_ONCE}).mappings().all():
        end = found[-1]
        connection.execute(text(_NOTE), {**last, "to_tenant": end["tenant"], "to_id": end["id"]})
        last = {"tenant": end["tenant"], "id": end["id"]}


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
