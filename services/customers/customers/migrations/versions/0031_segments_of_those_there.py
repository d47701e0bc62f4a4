"""Who is in the trash is in no segment, and no segment counts them."""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_TABLES = ("segments", "segment_customers", "customers", "trash")
# In the form in which `merging.segments` keeps it, so that restoring puts them back. All of it is one statement, which may be
# repeated, and loses nobody who comes into a segment meanwhile.
_TAKE = """WITH taken AS (
        DELETE FROM segment_customers s USING customers c
        WHERE c.tenant_id = s.tenant_id AND c.id = s.customer_id AND c.deleted_at IS NOT NULL
        RETURNING s.tenant_id, s.segment_id, s.customer_id, s.added_at, s.added_by
    ), kept AS (
        UPDATE trash t SET kept = t.kept || jsonb_build_object('segment_member', m.members) FROM (
            SELECT tenant_id, customer_id, jsonb_object_agg(segment_id || ' ' || customer_id, jsonb_build_object(
                'added', jsonb_build_array(added_at, added_by), 'joined', jsonb_build_array(false, customer_id))) AS members
            FROM taken GROUP BY tenant_id, customer_id
        ) m WHERE t.tenant_id = m.tenant_id AND t.id = m.customer_id
    )
    UPDATE segments g SET member_count = g.member_count - m.many FROM (
        SELECT tenant_id, segment_id, count(*) AS many FROM taken GROUP BY tenant_id, segment_id
    ) m WHERE g.tenant_id = m.tenant_id AND g.id = m.segment_id"""


def upgrade() -> None:
    # Row security binds the owner too, unless it says otherwise for the moment; the service is no owner, and is bound all the
    # while. Each statement is committed by itself, so that the tables are shut for none of them longer than it takes.
    with op.get_context().autocommit_block():
        for table in _TABLES:
            op.execute(f"DO $$ BEGIN ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; END $$")
        op.execute(_TAKE)
        for table in _TABLES:
            op.execute(f"DO $$ BEGIN ALTER TABLE {table} FORCE ROW LEVEL SECURITY; END $$")


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
