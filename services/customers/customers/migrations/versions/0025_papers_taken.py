"""Whose notes and files have followed a lead to its customer: being told of the conversion again brings nothing back that was
deleted since."""

from alembic import op

from chassis.schema import protect

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE papers_taken (
    tenant_id uuid NOT NULL,
    lead_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    moved_at timestamptz,
    taken_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, lead_id)
)"""
# Leads that were converted before, but for those whose papers are under way.
_BEFORE = """INSERT INTO papers_taken (tenant_id, lead_id, customer_id)
    SELECT DISTINCT ON (l.tenant_id, l.lead_id) l.tenant_id, l.lead_id, l.customer_id FROM (
        SELECT tenant_id, origin_lead_id AS lead_id, id AS customer_id FROM customers WHERE origin_lead_id IS NOT NULL
        UNION SELECT tenant_id, origin_lead_id, customer_id FROM contacts WHERE origin_lead_id IS NOT NULL
    ) AS l WHERE NOT EXISTS (
        SELECT FROM jobs j WHERE j.tenant_id = l.tenant_id AND j.kind = 'papers of a lead' AND j.key = CAST(l.lead_id AS text))
    """


def upgrade() -> None:
    op.execute(_TABLE)
    # The owner sees jobs only while their row security is not forced, and there is none on the new table yet.
    op.execute("ALTER TABLE jobs NO FORCE ROW LEVEL SECURITY")
    op.execute(_BEFORE)
    op.execute("ALTER TABLE jobs FORCE ROW LEVEL SECURITY")
    protect("papers_taken", app="SELECT, INSERT, UPDATE, DELETE")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
