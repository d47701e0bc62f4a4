"""Erasures of persons; the log of exports knows those of persons, which are ZIPs."""

from alembic import op

from chassis.privacy.schema import allow_erasure, install_privacy_tables
from chassis.schema import protect

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE erasures (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid NOT NULL,
    deleted_at timestamptz,
    of_type text NOT NULL CHECK (of_type IN ('contact', 'customer', 'lead')),
    record_id uuid NOT NULL,
    excluded jsonb NOT NULL,
    basis text NOT NULL CHECK (basis IN ('', 'REQUEST', 'CONSENT_WITHDRAWN', 'PURPOSE_ENDED', 'OTHER')),
    reference text NOT NULL,
    state text NOT NULL CHECK (state IN ('RUNNING', 'SUCCEEDED')),
    end_time timestamptz,
    records jsonb NOT NULL,
    notices text[] NOT NULL,
    waits_for text NOT NULL,
    pause_until timestamptz,
    person jsonb NOT NULL,
    steps jsonb NOT NULL,
    asked text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CHECK ((state = 'SUCCEEDED') = (end_time IS NOT NULL)),
    CHECK (state = 'RUNNING' OR person = '{}')
)"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(
        "CREATE INDEX erasures_created_at ON erasures (tenant_id, created_at, id) WHERE deleted_at IS NULL"
    )
    # Whom an erasure is about is nobody's to delete.
    protect("erasures", app="SELECT, INSERT, UPDATE")
    install_privacy_tables()
    allow_erasure("points_transactions", "reason")
    op.execute(
        "-- squawk-ignore ban-drop-constraint\nALTER TABLE exports DROP CONSTRAINT exports_format_check"
    )
    op.execute(
        "ALTER TABLE exports ADD CONSTRAINT exports_format_check CHECK (format IN ('CSV', 'XLSX', 'ZIP')) NOT VALID"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
