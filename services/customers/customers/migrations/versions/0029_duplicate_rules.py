"""Tenants' rules of what is done when somebody creates what is probably there already."""

from alembic import op

from chassis.schema import protect

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """CREATE TABLE duplicate_rules (
            tenant_id uuid NOT NULL,
            id uuid NOT NULL,
            version integer NOT NULL,
            created_at timestamptz NOT NULL,
            created_by uuid NOT NULL,
            updated_at timestamptz NOT NULL,
            updated_by uuid NOT NULL,
            deleted_at timestamptz,
            customers text NOT NULL CHECK (customers IN ('OFF', 'WARN', 'REFUSE')),
            contacts text NOT NULL CHECK (contacts IN ('OFF', 'WARN', 'REFUSE')),
            min_score integer NOT NULL CHECK (min_score BETWEEN 1 AND 100),
            PRIMARY KEY (tenant_id, id)
        )"""
    )
    protect("duplicate_rules")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
