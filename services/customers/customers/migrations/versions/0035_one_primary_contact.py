"""A customer has one primary contact: of several that stand, the one that was created first stays it, and the histories of the
others say so."""

from alembic import op

from chassis.schema import build_index, owner_role

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

_SPARE = (
    "SELECT tenant_id, id FROM (SELECT tenant_id, id, row_number() OVER (PARTITION BY tenant_id, customer_id"
    ' ORDER BY created_at, id) AS place FROM contacts WHERE "primary" AND deleted_at IS NULL) AS marked WHERE place > 1'
)


def upgrade() -> None:
    owner = owner_role()
    # The owner is bound by row security, too; its policy for searching lets it see contacts.
    statements = [
        "DROP POLICY IF EXISTS mending ON contacts",
        f"CREATE POLICY mending ON contacts FOR UPDATE TO {owner} USING (true) WITH CHECK (true)",
        "DROP POLICY IF EXISTS mending ON history",
        f"CREATE POLICY mending ON history FOR INSERT TO {owner} WITH CHECK (true)",
        f"""WITH mended AS (
            UPDATE contacts AS c SET "primary" = false, version = c.version + 1, updated_at = now()
            FROM ({_SPARE}) AS spare WHERE c.tenant_id = spare.tenant_id AND c.id = spare.id
            RETURNING c.tenant_id, c.id, c.version, c.updated_by)
        INSERT INTO history (tenant_id, id, record_type, record_id, version, action, changes, at, by, by_name, origin, trace_id)
        SELECT tenant_id, gen_random_uuid(), 'contact', id, version, 'updated', '{{"primary": [true, false]}}', now(),
            updated_by, '', 'service', '' FROM mended""",  # noqa: S608 (constants)
        "DROP POLICY mending ON contacts",
        "DROP POLICY mending ON history",
    ]
    # Each by itself: a policy locks the whole table, and nobody is to wait for the contacts that are looked through.
    with op.get_context().autocommit_block():
        for statement in statements:
            op.execute(statement)
        marked = 'contacts (tenant_id, customer_id) WHERE "primary" AND deleted_at IS NULL'
        build_index("contacts_one_primary", marked, unique=True)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
