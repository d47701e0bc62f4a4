"""Lists of those in one city or province are read by an index: row security lets none answer an operator of jsonb, so both stand
in columns of their own, which the database keeps true to the primary address."""

from alembic import op

from chassis.schema import build_index, fill

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

_TRUE_TO_IT = """CREATE OR REPLACE FUNCTION customers_places() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN
        NEW.city := nullif(NEW.address ->> 'city', '');
        NEW.province := nullif(NEW.address ->> 'province', '');
        RETURN NEW;
    END $$"""


def upgrade() -> None:
    # Each by itself: nobody waits for the customers that are looked through, and a repeat goes on.
    with op.get_context().autocommit_block():
        op.execute(
            "ALTER TABLE customers ADD COLUMN IF NOT EXISTS city text, ADD COLUMN IF NOT EXISTS province text"
        )
        op.execute(_TRUE_TO_IT)
        op.execute(
            "CREATE OR REPLACE TRIGGER customers_places BEFORE INSERT OR UPDATE OF address, city, province ON customers"
            " FOR EACH ROW EXECUTE FUNCTION customers_places()"
        )
        fill(
            "customers",
            "address = address",
            "city IS NULL AND province IS NULL AND (address ->> 'city' <> '' OR address ->> 'province' <> '')",
        )
        for column in ("city", "province"):
            # In the order of the list, which is read a page at a time.
            build_index(
                f"customers_{column}",
                f"customers (tenant_id, {column}, created_at, id) WHERE deleted_at IS NULL",
            )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
