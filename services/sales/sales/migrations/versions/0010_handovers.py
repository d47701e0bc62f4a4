"""Which customers were given to other owners together with the open work."""

from alembic import op

from chassis.schema import protect

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE handovers (
    tenant_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    version integer NOT NULL,
    former_owner_id uuid NOT NULL,
    owner_id uuid NOT NULL,
    team_id uuid,
    activities boolean NOT NULL,
    opportunities boolean NOT NULL,
    PRIMARY KEY (tenant_id, customer_id, version)
)"""


def upgrade() -> None:
    op.execute(_TABLE)
    protect("handovers")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
