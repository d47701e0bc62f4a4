"""What was kept before lists of numbers, values and affiliations stays as it is, and shows as it should."""

from collections.abc import Callable
from typing import Any

import asyncpg
import orjson
import pytest

from chassis.custom_fields import schema
from chassis.duplicates import schema as pairs_schema
from chassis.ids import new_id
from chassis.migrations import migrate_async
from chassis.testing import DatabaseUrls
from customers.rpc.messages import affiliated_message, customer_message
from customers.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")

_RECORD = "tenant_id, id, version, created_at, created_by, updated_at, updated_by, owner_id, team_id, search, search_text"
_VALUES = (
    "'0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a11', {id}, 1, now(), gen_random_uuid(), now(), gen_random_uuid(),"
    " NULL, NULL, '{}', ''"
)
_CUSTOMER = (
    "INSERT INTO customers (" + _RECORD + ", kind, display_name, industry, size, region, level, stage, source, phone,"
    " email, website, address, tags, annual_revenue_currency, employee_count, year_established, registration_number,"
    " notes, external_key)"
    " VALUES (" + _VALUES.replace("{id}", "'0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a12'") + ", 'COMPANY', '宝钢', '钢铁',"
    " 'LARGE', '', 'A', 'ACTIVE', 'PHONE', '+8613800001111', 'a@b.cn', '', '{\"city\": \"上海\"}', '{}', '', 0, 0, '',"
    " '', '')"
)  # fmt: skip
_CONTACT = (
    "INSERT INTO contacts (" + _RECORD + ", customer_id, display_name, title, department, decision_role, phones,"
    ' emails, im_account, notes, "primary", external_key)'
    " VALUES (" + _VALUES.replace("{id}", "gen_random_uuid()") + ", '0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a12', '张伟', '',"
    " '', '', '[{\"label\": \"work\", \"number\": \"+8613800002222\"}]', '[]', 'zw', '', true, '')"
)  # fmt: skip
_FILES = "SELECT pg_relation_filenode('customers') AS customers, pg_relation_filenode('contacts') AS contacts"


_SEGMENTS = ["segments", "segment_customers", "customers", "trash"]
_SHORT = "tenant_id, id, version, created_at, created_by, updated_at, updated_by"
_SEGMENT = (
    f"INSERT INTO segments ({_SHORT}, display_name, description, kind, filter, member_count)"
    " SELECT tenant_id, id, 1, now(), id, now(), id, 'S', '', 'STATIC', '', 2 FROM customers"
)
_MEMBER = (
    "INSERT INTO segment_customers (tenant_id, segment_id, customer_id, added_at, added_by)"
    " SELECT tenant_id, id, id, now(), id FROM customers"
)
_THROWN = (
    f"INSERT INTO trash ({_SHORT}, kind, display_name, kept)"
    " SELECT tenant_id, id, 1, now(), id, now(), id, 'CUSTOMER', display_name, '{}' FROM customers"
)
_GONE = "SELECT s.member_count, t.kept #> '{segment_member}' AS kept FROM segments s JOIN trash t USING (tenant_id, id)"
_VALUE = (
    "INSERT INTO custom_values (tenant_id, field_id, record_id, place, value)"
    " SELECT tenant_id, '0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a13', id, n, 'x' FROM {table}, generate_series(0, 1) AS n"
)


async def test_no_row_is_written_and_what_was_there_is_the_primary_entry(
    service_database: Callable[..., DatabaseUrls], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "AT_ONCE", 1)
    url = service_database("customers", empty=True).owner
    await migrate_async(url, SERVICE.migrations, "0005")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT set_config('kehu.tenant', '0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a11', false)"
        )
        for table in ("customers", "contacts", "custom_values"):  # the owner is bound by row security, too
            await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        await connection.execute(_CUSTOMER)
        await connection.execute(_CONTACT)
        # Another that is marked as the customer's primary one: the first stays it.
        await connection.execute(
            _CONTACT.replace("'张伟'", "'李娜'").replace("now()", "now() + interval '1 s'", 1)
        )
        for table in ("customers", "contacts"):
            await connection.execute(_VALUE.replace("{table}", table))
        before = dict((await connection.fetch(_FILES))[0])
        # What was broken off before: a policy is left, and indexes that would never be read.
        await migrate_async(url, SERVICE.migrations, "0034")
        await connection.execute("CREATE POLICY mending ON contacts FOR UPDATE TO CURRENT_USER USING (true)")
        for index in (
            "contacts_sample ON contacts (tenant_id)",
            "custom_values_made ON custom_values (tenant_id)",
        ):
            await connection.execute(f"DROP INDEX IF EXISTS {index.partition(' ')[0]}")
            with pytest.raises(asyncpg.UniqueViolationError):
                await connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {index}")
        await connection.close()
        await migrate_async(url, SERVICE.migrations)
        connection = await asyncpg.connect(url)
        whole = await connection.fetch(
            "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE indisvalid AND NOT indisunique"
            " AND indexrelid IN ('contacts_sample'::regclass, 'custom_values_made'::regclass) ORDER BY 1"
        )
        assert [row["name"] for row in whole] == ["contacts_sample", "custom_values_made"]
        times = await connection.fetch(
            "SELECT v.created_at = coalesce(c.created_at, k.created_at) AS same FROM custom_values AS v"
            " LEFT JOIN customers AS c ON c.id = v.record_id LEFT JOIN contacts AS k ON k.id = v.record_id"
        )
        assert [row["same"] for row in times] == [True] * 6
        await connection.set_type_codec("jsonb", encoder=str, decoder=orjson.loads, schema="pg_catalog")
        # A table that is rewritten has another file.
        assert dict((await connection.fetch(_FILES))[0]) == before
        (row,) = await connection.fetch("SELECT * FROM customers")
        # What lists ask for of the address stands beside it, also of those that were there, and no version was counted for it.
        assert (row["city"], row["province"], row["version"]) == ("上海", None, 1)
        customer = customer_message(row)
        contact = affiliated_message(
            (await connection.fetch("SELECT * FROM contacts ORDER BY created_at"))[0], {}
        )
        marked = await connection.fetch(
            'SELECT display_name, "primary", version FROM contacts ORDER BY created_at'
        )
        await connection.execute("ALTER TABLE history NO FORCE ROW LEVEL SECURITY")
        told = await connection.fetch(
            "SELECT version, action, changes FROM history WHERE record_type = 'contact'"
        )
        # Migrations that commit before they end are repeated when they have failed; nobody is taken out of a segment twice.
        for table in _SEGMENTS:
            await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        for statement in (_SEGMENT, _MEMBER, _THROWN, "UPDATE customers SET deleted_at = now()"):
            await connection.execute(statement)
        for _ in range(2):
            await connection.execute("UPDATE alembic_version SET version_num = '0029'")
            await migrate_async(url, SERVICE.migrations, "0032")
        forced = (
            "SELECT bool_and(relforcerowsecurity) FROM pg_class WHERE relname = ANY($1) AND relkind = 'r'"
        )
        assert await connection.fetchval(forced, _SEGMENTS)
        for table in _SEGMENTS:
            await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        (gone,) = await connection.fetch(_GONE)
        assert gone["member_count"] == 1 and len(gone["kept"]) == 1
        assert not await connection.fetch("SELECT FROM segment_customers")
    finally:
        await connection.close()
    assert [tuple(row) for row in marked] == [("张伟", True, 1), ("李娜", False, 2)]
    assert [tuple(row) for row in told] == [(2, "updated", {"primary": [True, False]})]
    assert [(one.number, one.primary) for one in customer.phones] == [("+8613800001111", True)]
    assert [(one.address, one.primary) for one in customer.emails] == [("a@b.cn", True)]
    assert [(one.address.city, one.primary) for one in customer.addresses] == [("上海", True)]
    assert (customer.level_key, customer.stage_key, customer.size_key, customer.source_key) == (
        "A", "ACTIVE", "LARGE", "PHONE",
    )  # fmt: skip
    assert [(one.label, one.number, one.primary) for one in contact.phones] == [
        ("work", "+8613800002222", True)
    ]
    assert [(one.account, one.primary) for one in contact.accounts] == [("zw", True)]


_NAMED = "SELECT referred_id FROM custom_references"
_TENANT = "0198c5a2-7d2e-7c3b-9a70-3f1f0e5b6a11"
_NAMES = orjson.dumps({"a": _TENANT, "b": "x", "c": ["x"], "d": {"units": "1"}}).decode()
_PAIR = (
    "INSERT INTO duplicate_pairs (tenant_id, id, version, created_at, created_by, updated_at, updated_by, kind, first_id,"
    " second_id, first_at, second_at, score, reasons, state, state_before, came_by, came_from) VALUES"
    f" ('{_TENANT}', $1, 1, now(), $1, now(), $1, 'customer', $2, $3, $2, $3, 80, '{{PHONE}}', 'SET_ASIDE', '', $4, $5)"
)
_CAME = "SELECT came_by, came_from, made_by_merge FROM duplicate_pairs WHERE id = $1"
_ORIGINS = "SELECT merge_id, from_id FROM duplicate_pair_origins WHERE pair_id = $1 ORDER BY 1, 2"


async def test_replicas_of_the_version_before_go_on_beside_those_of_this(
    service_database: Callable[[str], DatabaseUrls], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs_schema, "AT_ONCE", 1)
    urls = service_database("customers_before")
    await migrate_async(urls.owner, SERVICE.migrations, "0037")
    owner = await asyncpg.connect(urls.owner)
    said, first, second, third = [new_id() for _ in range(4)]
    records = sorted(new_id() for _ in range(5))
    merge, other = sorted((new_id(), new_id()))
    tenant = "SELECT set_config('kehu.tenant', $1, false)"
    try:
        await owner.execute(tenant, _TENANT)
        await owner.execute("ALTER TABLE customers NO FORCE ROW LEVEL SECURITY")
        await owner.execute("ALTER TABLE duplicate_pairs NO FORCE ROW LEVEL SECURITY")
        await owner.execute(_CUSTOMER)
        await owner.execute("UPDATE customers SET satisfaction_index = 62.5, custom_fields = $1", _NAMES)
        await owner.execute(_PAIR, said, records[0], records[1], None, None)
        await owner.execute(_PAIR, first, records[0], records[2], merge, said)
        await owner.execute(_PAIR, second, records[0], records[3], other, first)
        for table in ("customers", "duplicate_pairs"):
            await owner.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        # What is broken off is repeated.
        for broken_off, end in (("0039", "0043"), ("0046", "head")):
            for _ in range(2):
                await migrate_async(urls.owner, SERVICE.migrations, end)
                await owner.execute("UPDATE alembic_version SET version_num = $1", broken_off)
            await migrate_async(urls.owner, SERVICE.migrations, end)
    finally:
        await owner.close()
    app: Any = await asyncpg.connect(urls.app)
    try:
        await app.execute(tenant, _TENANT)
        (row,) = await app.fetch("SELECT satisfaction_tenths, city, version FROM customers")
        assert tuple(row) == (625, "上海", 1)
        # Whom the tenant's own fields name, and what replicas of the version before write of that.
        assert [str(id) for (id,) in await app.fetch(_NAMED)] == [_TENANT]
        await app.execute('UPDATE customers SET custom_fields = \'{"a": "x"}\'')
        assert await app.fetch(_NAMED) == []
        assert [tuple(one) for one in await app.fetch(_ORIGINS, first)] == [(merge, said)]
        assert [tuple(one) for one in await app.fetch(_ORIGINS, second)] == [(other, first)]
        assert [(await app.fetchrow(_CAME, id))[2] for id in (said, first, second)] == [False, True, True]
        # What they write of satisfaction and places, whoever else writes it.
        for index, tenths in ((70.3, 703), (None, None)):
            await app.execute("UPDATE customers SET satisfaction_index = $1", index)
            assert await app.fetchval("SELECT satisfaction_tenths FROM customers") == tenths
        await app.execute("UPDATE customers SET satisfaction_tenths = 5, city = '北京'")
        (row,) = await app.fetch("SELECT satisfaction_tenths, city FROM customers")
        assert tuple(row) == (None, "上海")
        # What they write of pairs …
        await app.execute(_PAIR, third, records[0], records[4], merge, said)
        assert [tuple(one) for one in await app.fetch(_ORIGINS, third)] == [(merge, said)]
        assert (await app.fetchrow(_CAME, third))[2]
        await app.execute("UPDATE duplicate_pairs SET came_by = NULL, came_from = NULL WHERE id = $1", third)
        assert await app.fetch(_ORIGINS, third) == []
        # … and what they read.
        add = "INSERT INTO duplicate_pair_origins (tenant_id, pair_id, merge_id, from_id) VALUES ($1, $2, $3, $4)"
        for by in (merge, other):
            await app.execute(add, _TENANT, third, by, said)
        drop = "DELETE FROM duplicate_pair_origins WHERE pair_id = $1 AND merge_id = $2"
        for by, left in ((merge, (other, said)), (other, (None, None))):
            assert (await app.fetchrow(_CAME, third))[0] == by
            await app.execute(drop, third, by)
            assert tuple(await app.fetchrow(_CAME, third))[:2] == left
        await app.execute("DELETE FROM duplicate_pairs WHERE id = $1", first)
        assert await app.fetch(_ORIGINS, first) == []
    finally:
        await app.close()
