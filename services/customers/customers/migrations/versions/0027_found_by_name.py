"""Customers are found by their whole names, with case and spaces set aside, for imports that name them."""

from alembic import op

from chassis.schema import TENANT, owner_role

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_SAME = "lower(replace(display_name, ' ', ''))"


def upgrade() -> None:
    app = owner_role().removesuffix("_owner")
    # Row security lets no index answer what PostgreSQL does not hold for leakproof, and lower() and replace() are not; so the
    # function runs as the table's owner, as the one for searching does, and gives back nothing but ids. It looks for each name
    # by itself: how many customers a long list of names may bring, the planner cannot know, and would read the whole table.
    op.execute(
        f"""CREATE OR REPLACE FUNCTION customers_named(names text[]) RETURNS TABLE (id uuid)
            LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE ROWS 100 SET search_path = pg_catalog, public
            AS $$
                SELECT f.id FROM (SELECT DISTINCT unnest(names) AS name) AS n, LATERAL (
                    SELECT t.id FROM customers AS t
                    WHERE t.tenant_id = {TENANT} AND t.deleted_at IS NULL AND {_SAME} = n.name OFFSET 0) AS f
            $$"""  # noqa: S608 (constants)
    )
    op.execute("REVOKE ALL ON FUNCTION customers_named(text[]) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION customers_named(text[]) TO {app}")
    with op.get_context().autocommit_block():
        op.execute(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS customers_same_name ON customers (tenant_id, {_SAME})"
            " WHERE deleted_at IS NULL"
        )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
