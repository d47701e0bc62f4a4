"""Contacts belong to one or more customers.

The contact's own columns are about its primary customer, as before; the others stand in `affiliations`, and in a table by which
they are found, with the owner and team of their customer. So no row that is there is touched.
"""

from alembic import op

from chassis.schema import protect

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE contact_affiliations (
    tenant_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    reports_to_id uuid,
    owner_id uuid,
    team_id uuid,
    PRIMARY KEY (tenant_id, contact_id, customer_id),
    FOREIGN KEY (tenant_id, contact_id) REFERENCES contacts (tenant_id, id),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    FOREIGN KEY (tenant_id, reports_to_id) REFERENCES contacts (tenant_id, id)
)"""


def upgrade() -> None:
    op.execute("ALTER TABLE contacts ADD COLUMN affiliations jsonb NOT NULL DEFAULT '[]'")
    op.execute(_TABLE)
    for column in ("customer_id", "reports_to_id", "owner_id", "team_id"):
        op.execute(
            f"CREATE INDEX contact_affiliations_{column} ON contact_affiliations (tenant_id, {column}, contact_id)"
        )
    protect("contact_affiliations")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
