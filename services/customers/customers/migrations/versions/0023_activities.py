"""What events tell of activities, by which it is known who is to be contacted when, and who was."""

from alembic import op

from chassis.schema import protect

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE customer_activities (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    event_id uuid NOT NULL,
    customer_id uuid,
    state text NOT NULL CHECK (state IN ('PLANNED', 'COMPLETED', 'GONE')),
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
)"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(
        "CREATE INDEX customer_activities_of ON customer_activities (tenant_id, customer_id, state, at)"
    )
    op.execute(
        "CREATE INDEX customer_activities_at ON customer_activities (tenant_id, state, at, customer_id)"
    )
    protect("customer_activities")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
