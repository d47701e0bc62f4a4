"""Segments of customers that campaigns take as their audience."""

from alembic import op

from chassis.schema import protect

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLE = """CREATE TABLE campaign_audiences (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid NOT NULL,
    updated_at timestamptz NOT NULL,
    updated_by uuid NOT NULL,
    deleted_at timestamptz,
    owner_id uuid,
    team_id uuid,
    campaign_id uuid NOT NULL,
    segment_id uuid NOT NULL,
    segment_name text NOT NULL,
    state text NOT NULL CHECK (state IN ('RUNNING', 'DONE', 'FAILED')),
    added_count bigint NOT NULL CHECK (added_count >= 0),
    existing_count bigint NOT NULL CHECK (existing_count >= 0),
    end_time timestamptz,
    problem text NOT NULL,
    page_token text NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    failed_at bigint NOT NULL DEFAULT 0,
    failure_reason text NOT NULL DEFAULT '',
    failure_message text NOT NULL DEFAULT '',
    asked_as jsonb NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    CHECK ((state = 'RUNNING') = (end_time IS NULL)),
    CHECK ((state = 'FAILED') = (problem <> ''))
)"""


def upgrade() -> None:
    op.execute(_TABLE)
    for column in ("created_at", "updated_at", "campaign_id"):
        op.execute(
            f"CREATE INDEX campaign_audiences_{column} ON campaign_audiences (tenant_id, {column}, id)"
            " WHERE deleted_at IS NULL"
        )
    protect("campaign_audiences")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
