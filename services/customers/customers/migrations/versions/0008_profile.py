"""Customers and contacts are reached by many numbers, addresses and accounts; customers have a tax number and needs.

All columns have constant defaults, which are kept in the catalog: no row is written. What a record had is its primary entry.
"""

from alembic import op

from chassis.schema import protect

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TEXTS = {
    "customers": ("phone_label", "email_label", "address_label", "tax_number", "needs"),
    "contacts": ("account_label",),
}
_LISTS = {
    "customers": ("other_phones", "other_emails", "other_addresses", "accounts"),
    "contacts": ("addresses", "other_accounts"),
}


def upgrade() -> None:
    for table, columns in _TEXTS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column} text NOT NULL DEFAULT ''")
    for table, columns in _LISTS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column} jsonb NOT NULL DEFAULT '[]'")
    op.execute(
        "CREATE TABLE tenant_countries (tenant_id uuid NOT NULL, country_code text NOT NULL, version integer NOT NULL,"
        " event_id uuid NOT NULL, PRIMARY KEY (tenant_id))"
    )
    protect("tenant_countries")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
