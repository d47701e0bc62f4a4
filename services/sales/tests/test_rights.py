"""Whose records of sales are read and changed by whom: reach own, team and all, for reading and writing, and other tenants."""

import json
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from kehu.history.v1 import history_pb2
from kehu.sales.v1 import (
    activity_pb2,
    activity_service_pb2,
    opportunity_pb2,
    opportunity_service_pb2,
    order_pb2,
    order_service_pb2,
    pipeline_pb2,
    pipeline_service_pb2,
    product_pb2,
    product_service_pb2,
)

from chassis import papers
from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import EVERYTHING, NotesAndFiles, eventually, parts_of, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALL = activity_pb2.ACTIVITY_KIND_CALL


@dataclass(frozen=True)
class Type:
    """A type of record: its methods, the right it stands under, and the field by which it is changed here."""

    record: str
    plural: str
    right: str
    message: Any
    requests: Any
    field: str
    fields: dict[str, Any]

    @property
    def name(self) -> str:
        return self.record.capitalize()

    @property
    def service(self) -> str:
        return f"{self.name}Service/"

    def _request(self, act: str, **fields: Any) -> Any:
        return getattr(self.requests, f"{act}{self.name}Request")(**fields)

    async def create(self, sales: Any, who: Principal, **fields: Any) -> Any:
        values = {**self.fields, **fields}
        if self.record in ("opportunity", "order"):
            values.setdefault("customer_id", sales.customer_id)
        request = self._request("Create", **{self.record: self.message(**values)})
        return await sales.ask(self.service + "Create" + self.name, request, self.message, who)

    async def get(self, sales: Any, who: Principal, id: str) -> Any:
        return await sales.ask(
            self.service + "Get" + self.name, self._request("Get", id=id), self.message, who
        )

    async def change(self, sales: Any, who: Principal, id: str, text: str, etag: str = "") -> Any:
        values = self.message(id=id, etag=etag, **{self.field: text})
        request = self._request(
            "Update", **{self.record: values, "update_mask": FieldMask(paths=[self.field])}
        )
        return await sales.ask(self.service + "Update" + self.name, request, self.message, who)

    async def drop(self, sales: Any, id: str) -> None:
        await sales.ask(self.service + "Delete" + self.name, self._request("Delete", id=id), Empty)

    async def listed(self, sales: Any, who: Principal, **asked: Any) -> list[Any]:
        name = self.plural.capitalize()
        request = getattr(self.requests, f"List{name}Request")(**asked)
        answer = getattr(self.requests, f"List{name}Response")
        return list(getattr(await sales.ask(self.service + "List" + name, request, answer, who), self.plural))


OPPORTUNITY = Type("opportunity", "opportunities", "opportunities", opportunity_pb2.Opportunity, opportunity_service_pb2, "notes", {"name": "Deal"})  # fmt: skip  # noqa: E501
ACTIVITY = Type("activity", "activities", "opportunities", activity_pb2.Activity, activity_service_pb2, "description", {"kind": CALL, "subject": "Call", "due_time": Timestamp(seconds=1_900_000_000)})  # fmt: skip  # noqa: E501
ORDER = Type("order", "orders", "orders", order_pb2.Order, order_service_pb2, "notes", {})
PRODUCT = Type("product", "products", "products", product_pb2.Product, product_service_pb2, "description", {})  # fmt: skip
OWNED = (OPPORTUNITY, ACTIVITY, ORDER)


async def outcome(call: Any) -> str:
    """`yes`, or the reason why not."""
    try:
        await call
    except Problem as problem:
        assert problem.code in (Code.NOT_FOUND, Code.PERMISSION_DENIED), problem
        return problem.reason
    return "yes"


def reaching(reach: Reach, relation: str) -> bool:
    return (
        reach is Reach.ALL
        or (reach is Reach.TEAM and relation in ("owner", "mate"))
        or (reach is Reach.OWN and relation == "owner")
    )


@pytest.mark.parametrize("type", OWNED, ids=lambda type: type.record)
async def test_owned_records_follow_reach(sales: Any, type: Type) -> None:
    team = new_id()
    owner = somebody("acme", team=team)
    made = await type.create(sales, owner)
    assert (made.owner_id, made.team_id) == (str(owner.person_id), str(team))
    people = {
        "owner": owner,
        "mate": somebody("acme", team=team),
        "stranger": somebody("acme", team=new_id()),
    }
    for relation, person in people.items():
        for read in Reach:
            for write in Reach:
                who = replace(person, rights={**EVERYTHING, type.right: Rights(read, write)})
                case = f"{type.record}: {relation} reads {read.name}, writes {write.name}"
                sees, changes = reaching(read, relation), reaching(write, relation)
                said = await outcome(type.get(sales, who, made.id))
                expected = "RIGHT_MISSING" if read is Reach.NONE else "yes" if sees else "NOT_FOUND"
                assert said == expected, case
                if read is not Reach.NONE:
                    listed = {one.id for one in await type.listed(sales, who, page_size=200)}
                    assert (made.id in listed) == sees, case
                said = await outcome(type.change(sales, who, made.id, case))
                if write is Reach.NONE:
                    assert said == "RIGHT_MISSING", case
                elif changes:
                    assert said == "yes", case
                else:
                    assert said != "yes" and (said == "NOT_FOUND") == (not sees), f"{case}: {said}"


async def test_products_and_the_pipeline_belong_to_nobody(sales: Any) -> None:
    made = await PRODUCT.create(sales, sales.boss, name="Everybody's")
    for read in Reach:
        for write in Reach:
            rights = {"products": Rights(read, write), "opportunities": Rights(read, Reach.NONE), "settings": Rights(Reach.NONE, write)}  # fmt: skip  # noqa: E501
            who = somebody("acme", rights=rights)
            seen = "RIGHT_MISSING" if read is Reach.NONE else "yes"
            changed = "RIGHT_MISSING" if write is Reach.NONE else "yes"
            assert await outcome(PRODUCT.get(sales, who, made.id)) == seen
            assert await outcome(PRODUCT.listed(sales, who)) == seen
            assert await outcome(PRODUCT.change(sales, who, made.id, f"{read} {write}")) == changed
            get = pipeline_service_pb2.GetPipelineRequest()
            assert await outcome(sales.ask("PipelineService/GetPipeline", get, pipeline_pb2.Pipeline, who)) == seen  # fmt: skip
            update = pipeline_service_pb2.UpdatePipelineRequest(
                pipeline=pipeline_pb2.Pipeline(name=f"{read} {write}"), update_mask=FieldMask(paths=["name"])
            )
            call = sales.ask("PipelineService/UpdatePipeline", update, pipeline_pb2.Pipeline, who)
            assert await outcome(call) == changed


async def test_another_tenant_finds_nothing(sales: Any) -> None:
    rival = somebody("rival")
    product = await PRODUCT.create(sales, sales.boss, name="Ours alone")
    for type in (*OWNED, PRODUCT):
        made = product if type is PRODUCT else await type.create(sales, sales.boss)
        assert await outcome(type.get(sales, rival, made.id)) == "NOT_FOUND"
        assert await outcome(type.change(sales, rival, made.id, "theirs")) == "NOT_FOUND"
        assert await type.listed(sales, rival) == []
        request = history_pb2.ListChangesRequest(record_type=type.record, record_id=made.id)
        call = sales.ask("HistoryService/ListChanges", request, history_pb2.ListChangesResponse, rival)
        assert await outcome(call) == "NOT_FOUND"
    # The same name and number in another tenant is another product.
    theirs = await PRODUCT.create(sales, rival, name="Ours alone")
    assert theirs.id != product.id
    stages = [pipeline_pb2.Stage(name="Only theirs", probability=50)]
    update = pipeline_service_pb2.UpdatePipelineRequest(pipeline=pipeline_pb2.Pipeline(stages=stages))
    await sales.ask("PipelineService/UpdatePipeline", update, pipeline_pb2.Pipeline, rival)
    get = pipeline_service_pb2.GetPipelineRequest()
    ours = await sales.ask("PipelineService/GetPipeline", get, pipeline_pb2.Pipeline)
    assert [stage.name for stage in ours.stages] == ["Prospecting", "Engaging", "Negotiating"]
    with pytest.raises(Problem) as caught:
        await sales.opportunity("theirs", rival, product_id=product.id)
    assert caught.value.reason == "PRODUCT_NOT_FOUND"


_COMMON = (
    "tenant_id, id, version, created_at, created_by, updated_at, updated_by, deleted_at, of_type, record_id"
)
_MADE = (
    " SELECT current_setting('kehu.tenant')::uuid, gen_random_uuid(), 1, now(), gen_random_uuid(), now(), gen_random_uuid(),"
    " CASE WHEN n % 2 = 0 THEN now() END, 'order', gen_random_uuid(), "
)
_MANY_NOTES = (
    f"INSERT INTO notes ({_COMMON}, text, pinned, mentioned_ids, author_name)" + _MADE
    + "'x', false, '{}', '' FROM generate_series(1, 4000) n"
)  # fmt: skip
_MANY_FILES = (
    f"INSERT INTO attachments ({_COMMON}, filename, content_type, size_bytes, sha256, storage_key, author_name)" + _MADE
    + "'x', '', 1, repeat('0', 64), n::text, '' FROM generate_series(1, 4000) n"
)  # fmt: skip


class _Enough(Exception):
    """What was written for a look is not to stay."""


_PUT_ON = (
    "SELECT split_part(subject, '.sales.', 2) AS told FROM outbox"
    " WHERE convert_from(data, 'UTF8')::jsonb ->> 'recordId' = $1 ORDER BY seq"
)


async def test_notes_and_files_follow_their_record(sales: Any) -> None:
    """Who reads it reads them, who writes it adds to them, others hear of them by its right, and they are deleted with it."""
    boss, papers = sales.boss, NotesAndFiles(sales.harness, "kehu.sales.v1")
    made: list[tuple[Type, str]] = []
    for type in (*OWNED, PRODUCT):
        fields = {"name": "With papers"} if type is PRODUCT else {}
        id = (await type.create(sales, boss, **fields)).id
        made.append((type, id))
        reads = Rights(Reach.ALL, Reach.NONE if type is PRODUCT else Reach.OWN)
        reader = somebody("acme", rights={type.right: reads})
        others = {right: both for right, both in EVERYTHING.items() if right != type.right}
        await papers.put(boss, type.record, id, type.record)
        assert await papers.on(reader, type.record, id) == [type.record]
        for who in (reader, somebody("acme", rights=others), somebody("rival")):
            assert await outcome(papers.put(who, type.record, id, "no")) != "yes", type.record
            assert await outcome(papers.on(who, type.record, id)) == ("yes" if who is reader else "NOT_FOUND")
        told = {"orders": "order_", "products": "product_"}.get(type.right, "")
        rows = await sales.harness.running.database.read(boss, _PUT_ON, id)
        assert [row["told"] for row in rows] == [f"{told}note.created", f"{told}attachment.created"]
        # What somebody has deleted before goes with it, too.
        await papers.put(boss, type.record, id, "slip")
        await papers.delete(boss, type.record, id, "slip")
    assert await papers.rows(boss) >= 3 * len(made)  # the row of a file goes with its bytes
    await eventually(lambda: len(papers.kept(boss)) == len(made))
    for type, id in made:
        await type.drop(sales, id)
        assert await outcome(papers.on(boss, type.record, id)) == "NOT_FOUND"
    assert await papers.rows(boss) == 0
    await eventually(lambda: papers.kept(boss) == [])


async def test_what_is_on_a_record_is_found_by_it(sales: Any) -> None:
    """However many notes and files there are, deleted ones or not: deleting, merging and undoing an import ask so."""
    statements: Any = vars(papers)
    database: Any = await asyncpg.connect(sales.harness.running.settings.database_url.get_secret_value())
    try:
        await database.execute(f"SET kehu.tenant = '{sales.boss.tenant_id}'")
        async with database.transaction():
            await database.execute(_MANY_NOTES)
            await database.execute(_MANY_FILES)
            await database.execute("SET LOCAL enable_seqscan = off")  # what nobody has counted yet
            for statement in (*statements["_NOTES_DROPPED"], *statements["_FILES_DROPPED"]):
                sql = statement.text.replace(":type", "'order'").replace(":ids", f"'{{{new_id()}}}'::uuid[]")
                found = await database.fetchval(f"EXPLAIN (FORMAT JSON) {sql}")
                nodes = parts_of(json.loads(found)[0]["Plan"])
                assert [node["Index Name"] for node in nodes if "Index Name" in node] == [
                    f"{nodes[0]['Relation Name']}_{'deleted_' if 'NOT NULL' in sql else ''}of_record"
                ]
            raise _Enough
    except _Enough:
        pass
    finally:
        await database.close()


async def test_every_type_keeps_its_history(sales: Any) -> None:
    async def changes(record: str, id: str, who: Principal | None = None) -> list[Any]:
        request = history_pb2.ListChangesRequest(record_type=record, record_id=id)
        method = "HistoryService/ListChanges"
        return list((await sales.ask(method, request, history_pb2.ListChangesResponse, who)).changes)

    boss = replace(sales.boss, name="Li Boss")
    for type in (*OWNED, PRODUCT):
        made = await type.create(sales, boss, **({"name": "Historic"} if type is PRODUCT else {}))
        await type.change(sales, boss, made.id, "second")
        await type.change(sales, boss, made.id, "third")
        last, before, first = await changes(type.record, made.id)
        assert [(f.field, f.old_value, f.new_value) for f in last.fields] == [(type.field, "second", "third")]
        assert (last.act, before.act, first.act) == (
            history_pb2.CHANGE_ACT_UPDATED, history_pb2.CHANGE_ACT_UPDATED, history_pb2.CHANGE_ACT_CREATED,
        )  # fmt: skip
        assert (last.actor_id, last.actor_name, last.version) == (str(boss.person_id), "Li Boss", 3)
        hidden = {f.field for f in first.fields} & {"search", "searchText", "tenantId", "version"}
        assert not hidden
        if type is not PRODUCT:
            own = somebody("acme", rights={type.right: Rights(Reach.OWN, Reach.OWN)})
            assert await outcome(changes(type.record, made.id, own)) == "NOT_FOUND"
    update = pipeline_service_pb2.UpdatePipelineRequest(
        pipeline=pipeline_pb2.Pipeline(name="Ours"), update_mask=FieldMask(paths=["name"])
    )
    pipeline = await sales.ask("PipelineService/UpdatePipeline", update, pipeline_pb2.Pipeline)
    last = (await changes("pipeline", pipeline.id))[0]
    assert [(f.field, f.new_value) for f in last.fields] == [("name", "Ours")]
    with pytest.raises(Problem) as caught:
        await changes("lead", pipeline.id)
    assert caught.value.reason == "RECORD_TYPE_UNKNOWN"
