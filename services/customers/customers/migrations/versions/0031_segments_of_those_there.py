"""Who is in the trash is in no segment, and no segment counts them."""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_TABLES = ("segments", "segment_customers", "customers", "trash")
# In the form in which `merging.segments` keeps it, so that restoring puts them back.
_KEEP = """UPDATE trash t SET kept = t.kept || jsonb_build_object('segment_member', m.members) FROM (
        SELECT s.tenant_id, s.customer_id, jsonb_object_agg(s.segment_id || ' ' || s.customer_id, jsonb_build_object(
            'added', jsonb_build_array(s.added_at, s.added_by), 'joined', jsonb_build_array(false, s.customer_id))) AS members
        FROM segment_customers s JOIN customers c ON c.tenant_id = s.tenant_id AND c.id = s.customer_id
        WHERE c.deleted_at IS NOT NULL GROUP BY s.tenant_id, s.customer_id
    ) m WHERE t.tenant_id = m.tenant_id AND t.id = m.customer_id"""
_TAKE = """DELETE FROM segment_customers s USING customers c
    WHERE c.tenant_id = s.tenant_id AND c.id = s.customer_id AND c.deleted_at IS NOT NULL"""
_COUNT = """UPDATE segments g SET member_count = coalesce(m.many, 0) FROM segments h LEFT JOIN (
        SELECT tenant_id, segment_id, count(*) AS many FROM segment_customers GROUP BY tenant_id, segment_id
    ) m ON m.tenant_id = h.tenant_id AND m.segment_id = h.id
    WHERE h.tenant_id = g.tenant_id AND h.id = g.id AND g.member_count <> coalesce(m.many, 0)"""


def upgrade() -> None:
    # Row security binds the owner too, unless it says otherwise for the moment.
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    for statement in (_KEEP, _TAKE, _COUNT):
        op.execute(statement)
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
