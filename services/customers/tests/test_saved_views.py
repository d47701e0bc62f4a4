"""Saved views: what one may say, who sees it, with which a list begins, and what becomes of one whose field has gone."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.customers.v1 import customer_pb2, customer_service_pb2
from kehu.customfields.v1 import custom_fields_pb2 as fields
from kehu.history.v1 import history_pb2
from kehu.savedviews.v1 import saved_views_pb2 as pb

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.saved_views import rpc as saved_views_rpc
from chassis.saved_views import view as saved_view
from chassis.testing import eventually, refused, somebody
from chassis.wire import from_dict
from customers.testing import CUSTOMERS, Company

pytestmark = pytest.mark.asyncio(loop_scope="module")
VIEWS = "kehu.customers.v1.SavedViewService/"
FIELDS = "kehu.customers.v1.CustomFieldService/"
HISTORY = "kehu.customers.v1.HistoryService/"
NOBODY, TEAM, EVERYONE = (
    pb.SAVED_VIEW_SHARING_NOBODY,
    pb.SAVED_VIEW_SHARING_TEAM,
    pb.SAVED_VIEW_SHARING_EVERYONE,
)


def colleague(
    company: Company, read: Reach = Reach.ALL, write: Reach = Reach.OWN, team: UUID | None = None
) -> Principal:
    """Somebody else of the same company."""
    return replace(
        company.who, person_id=new_id(), name="Li Lei", team_id=team, team_ids=frozenset([team] if team else []),
        rights={"customers": Rights(read, write)},
    )  # fmt: skip


async def save(
    company: Company, who: Principal | None = None, request_id: str = "", **values: Any
) -> pb.SavedView:
    values = {"record_type": "customer", "display_name": f"View {uuid4().hex}", **values}
    request = pb.CreateSavedViewRequest(saved_view=pb.SavedView(**values), request_id=request_id)
    return await company.service.ask(who or company.who, VIEWS + "CreateSavedView", request, pb.SavedView)


async def change(
    company: Company, id: str, who: Principal | None = None, etag: str = "", **values: Any
) -> pb.SavedView:
    request = pb.UpdateSavedViewRequest(
        saved_view=pb.SavedView(id=id, etag=etag, **values), update_mask=FieldMask(paths=list(values))
    )
    return await company.service.ask(who or company.who, VIEWS + "UpdateSavedView", request, pb.SavedView)


async def get(company: Company, id: str, who: Principal | None = None) -> pb.SavedView:
    request = pb.GetSavedViewRequest(id=id)
    return await company.service.ask(who or company.who, VIEWS + "GetSavedView", request, pb.SavedView)


async def verb(company: Company, name: str, id: str, who: Principal | None = None) -> pb.SavedView:
    request: Any = getattr(pb, f"{name}SavedViewRequest")(id=id)
    return await company.service.ask(who or company.who, f"{VIEWS}{name}SavedView", request, pb.SavedView)


async def listed(company: Company, who: Principal | None = None, record_type: str = "") -> list[pb.SavedView]:
    """All views that somebody sees, read in pages of two."""
    found: list[pb.SavedView] = []
    request = pb.ListSavedViewsRequest(page_size=2, record_type=record_type)
    while True:
        page = await company.service.ask(
            who or company.who, VIEWS + "ListSavedViews", request, pb.ListSavedViewsResponse
        )
        found += page.saved_views
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def count(company: Company, id: str, who: Principal | None = None) -> tuple[int, bool]:
    found = await company.service.ask(
        who or company.who, VIEWS + "CountSavedView", pb.CountSavedViewRequest(id=id), pb.CountSavedViewResponse
    )  # fmt: skip
    return found.count, found.more


async def customer(company: Company, who: Principal | None = None, **values: Any) -> str:
    request = customer_service_pb2.CreateCustomerRequest(
        customer=from_dict(customer_pb2.Customer, {"displayName": "客户", **values})
    )
    made = await company.service.ask(
        who or company.who, CUSTOMERS + "CreateCustomer", request, customer_pb2.Customer
    )
    return made.id


async def add_field(company: Company, key: str) -> fields.CustomField:
    field = fields.CustomField(
        record_type="customer", key=key, label_en=key, kind=fields.CUSTOM_FIELD_KIND_TEXT, filterable=True
    )
    request = fields.CreateCustomFieldRequest(custom_field=field)
    made = await company.service.ask(company.who, FIELDS + "CreateCustomField", request, fields.CustomField)

    async def indexed() -> bool:
        asked = fields.GetCustomFieldRequest(id=made.id)
        return (
            await company.service.ask(company.who, FIELDS + "GetCustomField", asked, fields.CustomField)
        ).indexed

    await eventually(indexed)
    return made


async def events(company: Company, id: str) -> list[tuple[str, dict[str, Any]]]:
    rows = await company.service.running.database.read(
        company.who,
        "SELECT type, convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE record_id = $1 ORDER BY id",
        UUID(id),
    )
    return [(row["type"].rpartition(".")[2], row["data"]) for row in rows]


async def test_a_view_is_kept_as_it_was_said(company: Company) -> None:
    view = await save(
        company, display_name=" 华东 A 类 ", filter='region = "华东" AND level = A', order_by="displayName desc",
        columns=["displayName", "level", "ownerId"], position=3,
    )  # fmt: skip
    assert (view.display_name, view.filter, view.order_by) == (
        "华东 A 类", 'region = "华东" AND level = A', "displayName desc",
    )  # fmt: skip
    assert list(view.columns) == ["displayName", "level", "ownerId"]
    assert (view.sharing, view.changeable, view.default, view.owner_id) == (
        NOBODY, True, False, str(company.who.person_id),
    )  # fmt: skip
    assert await get(company, view.id) == view
    changed = await change(company, view.id, display_name="华东", filter="")
    assert (changed.display_name, changed.filter, changed.position) == ("华东", "", 3)
    assert changed.etag != view.etag
    await refused(Code.ABORTED, "ETAG_MISMATCH", change(company, view.id, etag=view.etag, position=1))
    told = await events(company, view.id)
    assert [name for name, _ in told] == ["SavedViewCreated", "SavedViewUpdated"]
    assert set(told[1][1]["changedFields"]) == {"displayName", "filter"}
    # Those who read all customers hear of it: what is nobody else's has no name there.
    assert told[0][1]["savedView"]["displayName"] == ""


@pytest.mark.parametrize(
    ("said", "field", "reason", "expected"),
    [
        ({"filter": "level = A AND lvl = B"}, "savedView.filter", "FILTER_INVALID", "at character 15"),
        ({"filter": "level = Z"}, "savedView.filter", "FILTER_INVALID", "no value 'Z'"),
        ({"filter": "createTime > soon"}, "savedView.filter", "FILTER_INVALID", "wants a time"),
        ({"filter": "level ="}, "savedView.filter", "FILTER_INVALID", "at character 8"),
        ({"filter": "customFields.none = 1"}, "savedView.filter", "FILTER_INVALID", "no custom field"),
        ({"order_by": "notes"}, "savedView.orderBy", "ORDER_BY_INVALID", "no field 'notes'"),
        ({"order_by": "displayName sideways"}, "savedView.orderBy", "ORDER_BY_INVALID", "only asc or desc"),
        ({"columns": ["level", "secrets"]}, "savedView.columns[1]", "COLUMNS_INVALID", "'secrets'"),
        ({"columns": ["customFields.none"]}, "savedView.columns[0]", "COLUMNS_INVALID", "customFields.none"),
        ({"columns": ["etag"]}, "savedView.columns[0]", "COLUMNS_INVALID", "etag"),
    ],
)
async def test_what_the_list_does_not_understand_is_refused_with_its_place(
    company: Company, said: dict[str, Any], field: str, reason: str, expected: str
) -> None:
    problem = await refused(Code.INVALID_ARGUMENT, reason, save(company, **said))
    assert problem.violations[0].field == field and expected in problem.violations[0].description
    good = await save(company)
    problem = await refused(Code.INVALID_ARGUMENT, reason, change(company, good.id, **said))
    assert problem.violations[0].field == field


async def test_all_that_is_wrong_is_said_at_once(company: Company) -> None:
    said = save(company, filter="lvl = B", order_by="notes", columns=["x"])
    problem = await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", said)
    assert [one.field for one in problem.violations] == [
        "savedView.filter", "savedView.orderBy", "savedView.columns[0]",
    ]  # fmt: skip
    await refused(Code.INVALID_ARGUMENT, "RECORD_TYPE_UNKNOWN", save(company, record_type="lead"))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", save(company, display_name="  "))


async def test_contacts_have_fields_of_their_own(company: Company) -> None:
    view = await save(
        company, record_type="contact", filter="primary = true", columns=["title", "customerName"]
    )
    assert view.record_type == "contact"
    await refused(
        Code.INVALID_ARGUMENT, "FILTER_INVALID", save(company, record_type="contact", filter="level = A")
    )


async def test_names_are_taken_once_by_each_person(company: Company) -> None:
    await save(company, display_name="Mine")
    other = await save(company, display_name="Other")
    for again in (save(company, display_name="mine"), change(company, other.id, display_name="MINE")):
        problem = await refused(Code.ALREADY_EXISTS, "SAVED_VIEW_NAME_TAKEN", again)
        assert problem.violations[0].field == "savedView.displayName"
    await save(company, record_type="contact", display_name="Mine")
    li = colleague(company)
    theirs = await save(company, li, display_name="Mine")
    request = pb.DeleteSavedViewRequest(id=theirs.id)
    await company.service.ask(li, VIEWS + "DeleteSavedView", request, Empty)
    assert (await save(company, li, display_name="Mine")).id != theirs.id


async def test_a_repeat_saves_once(company: Company) -> None:
    key = uuid4().hex
    one, two = [await save(company, request_id=key, display_name="Once") for _ in range(2)]
    assert one == two and len(await listed(company)) == 1
    await refused(
        Code.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", save(company, request_id=key, display_name="Twice")
    )


async def test_ones_own_are_nobody_elses(company: Company) -> None:
    """Not even of those who may read and write everything."""
    li = colleague(company)
    view = await save(company, li, display_name="Private")
    assert await listed(company) == []
    for call in (
        get(company, view.id), count(company, view.id), change(company, view.id, filter=""),
        verb(company, "MakeDefault", view.id), verb(company, "ClearDefault", view.id),
        company.service.ask(
            company.who, VIEWS + "DeleteSavedView", pb.DeleteSavedViewRequest(id=view.id), Empty
        ),
    ):  # fmt: skip
        await refused(Code.NOT_FOUND, "NOT_FOUND", call)
    asked = history_pb2.ListChangesRequest(record_type="saved_view", record_id=view.id)
    history = company.service.ask(
        company.who, HISTORY + "ListChanges", asked, history_pb2.ListChangesResponse
    )
    await refused(Code.NOT_FOUND, "NOT_FOUND", history)
    own = await company.service.ask(li, HISTORY + "ListChanges", asked, history_pb2.ListChangesResponse)
    assert [one.act for one in own.changes] == [history_pb2.CHANGE_ACT_CREATED]
    stranger = somebody("elsewhere")
    await refused(Code.NOT_FOUND, "NOT_FOUND", get(company, view.id, stranger))


async def test_who_may_share_with_whom(company: Company) -> None:
    north, below, south = new_id(), new_id(), new_id()
    lead = replace(colleague(company, write=Reach.TEAM, team=north), team_ids=frozenset({north, below}))
    mate, junior, other = (colleague(company, team=team) for team in (north, below, south))
    await refused(Code.PERMISSION_DENIED, "SHARING_OUT_OF_REACH", save(company, mate, sharing=TEAM))
    await refused(Code.PERMISSION_DENIED, "SHARING_OUT_OF_REACH", save(company, lead, sharing=EVERYONE))
    for team in (south, new_id()):
        foreign = save(company, lead, sharing=TEAM, shared_team_id=str(team))
        await refused(Code.INVALID_ARGUMENT, "TEAM_NOT_FOUND", foreign)
    aimless = save(company, lead, shared_team_id=str(north))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", aimless)
    ours = await save(company, lead, display_name="North", sharing=TEAM)
    assert ours.shared_team_id == str(north)
    theirs = await save(company, lead, display_name="Below", sharing=TEAM, shared_team_id=str(below))
    seen = {name: {one.id for one in await listed(company, who)} for name, who in
            {"mate": mate, "junior": junior, "other": other}.items()}  # fmt: skip
    assert seen == {"mate": {ours.id}, "junior": {theirs.id}, "other": set()}
    assert not (await get(company, ours.id, mate)).changeable
    await refused(Code.PERMISSION_DENIED, "RECORD_READ_ONLY", change(company, ours.id, mate, filter=""))
    assert (await events(company, ours.id))[0][1]["savedView"]["displayName"] == "North"

    # Whoever may write all records shares with everyone, and corrects what others have shared with them.
    boss = company.who
    everyone = await save(company, sharing=EVERYONE, display_name="All of us")
    assert {one.id for one in await listed(company, other)} == {everyone.id}
    await change(company, everyone.id, sharing=NOBODY)
    assert await listed(company, other) == []
    # Also those of other teams, whose owner may have left.
    assert {everyone.id, ours.id, theirs.id} <= {one.id for one in await listed(company)}
    assert (await get(company, theirs.id)).changeable
    elsewhere = replace(lead, person_id=new_id(), team_id=south, team_ids=frozenset({south}))
    assert not {ours.id, theirs.id} & {one.id for one in await listed(company, elsewhere)}
    await refused(Code.NOT_FOUND, "NOT_FOUND", get(company, theirs.id, elsewhere))
    shared = replace(boss, team_id=north, team_ids=frozenset({north}))
    changed = await change(company, ours.id, shared, filter="level = A")
    assert (changed.filter, changed.sharing, changed.owner_id) == ("level = A", TEAM, str(lead.person_id))
    taken_back = await change(company, ours.id, shared, sharing=NOBODY)
    assert taken_back.shared_team_id == ""
    await refused(Code.NOT_FOUND, "NOT_FOUND", get(company, ours.id, mate))


async def test_without_the_right_to_read_there_are_no_views(company: Company) -> None:
    nobody = replace(colleague(company), rights={"leads": Rights(Reach.ALL, Reach.ALL)})
    shared = await save(company, sharing=EVERYONE)
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", save(company, nobody))
    assert await listed(company, nobody) == []
    await refused(Code.NOT_FOUND, "NOT_FOUND", get(company, shared.id, nobody))
    await refused(Code.NOT_FOUND, "NOT_FOUND", count(company, shared.id, nobody))


async def test_one_default_a_person_and_record_type(company: Company) -> None:
    one, two = await save(company, sharing=EVERYONE, position=1), await save(company, position=2)
    contacts = await save(company, record_type="contact", position=3)
    for view in (one, two, contacts):
        assert (await verb(company, "MakeDefault", view.id)).default
    assert [view.default for view in await listed(company)] == [False, True, True]
    li = colleague(company)
    assert (await verb(company, "MakeDefault", one.id, li)).default
    assert not (await get(company, one.id)).default
    assert not (await verb(company, "ClearDefault", two.id)).default
    assert [view.default for view in await listed(company, record_type="customer")] == [False, False]
    # A deleted view is nobody's default, and another can be.
    request = pb.DeleteSavedViewRequest(id=one.id)
    await company.service.ask(company.who, VIEWS + "DeleteSavedView", request, Empty)
    await refused(Code.NOT_FOUND, "NOT_FOUND", verb(company, "MakeDefault", one.id, li))
    theirs = await save(company, li)
    assert (await verb(company, "MakeDefault", theirs.id, li)).default


async def test_many_choose_a_default_at_once(company: Company) -> None:
    views = [await save(company) for _ in range(4)]
    await asyncio.gather(*[verb(company, "MakeDefault", view.id) for view in views])
    assert sum(view.default for view in await listed(company)) == 1


async def test_views_are_listed_by_position(company: Company) -> None:
    for name, position in (("b", 2), ("a", 2), ("z", 1), ("last", 9)):
        await save(company, display_name=name, position=position)
    assert [view.display_name for view in await listed(company)] == ["z", "a", "b", "last"]


async def test_records_are_counted_for_whoever_asks(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    li = colleague(company, read=Reach.OWN)
    view = await save(company, filter='region = "北方"', sharing=EVERYONE)
    for _ in range(3):
        await customer(company, region="北方")
    await customer(company, region="南方")
    await customer(company, li, region="北方")
    assert await count(company, view.id) == (4, False)
    assert await count(company, view.id, li) == (1, False)
    monkeypatch.setattr(saved_views_rpc, "MOST_COUNTED", 3)
    assert await count(company, view.id) == (3, True)
    whole = await save(company, li)
    assert await count(company, whole.id, li) == (1, False)


async def test_a_view_whose_field_has_gone_says_so(company: Company) -> None:
    field = await add_field(company, "tier")
    named: dict[str, Any] = {
        "filter": "level = A AND customFields.tier = gold",
        "order_by": "customFields.tier",
    }
    view = await save(company, columns=["displayName", "customFields.tier"], **named)
    fine = await save(company)
    assert list(view.problems) == []
    await company.service.ask(
        company.who, FIELDS + "DeleteCustomField", fields.DeleteCustomFieldRequest(id=field.id), Empty
    )
    found = {one.id: one for one in await listed(company)}
    assert list(found[fine.id].problems) == []
    assert [(one.field, one.reason) for one in found[view.id].problems] == [
        ("filter", "FILTER_INVALID"), ("orderBy", "ORDER_BY_INVALID"), ("columns[1]", "COLUMNS_INVALID"),
    ]  # fmt: skip
    assert "at character 15" in found[view.id].problems[0].message
    await refused(Code.FAILED_PRECONDITION, "SAVED_VIEW_BROKEN", count(company, view.id))
    # It can be mended, part by part.
    mended = await change(company, view.id, filter="level = A")
    assert [one.field for one in mended.problems] == ["orderBy", "columns[1]"]
    assert await count(company, view.id) == (0, False)
    mended = await change(company, view.id, order_by="", columns=["displayName"])
    assert list(mended.problems) == []


async def test_a_person_has_so_many(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_view, "MOST", 2)
    made = await asyncio.gather(*[save(company) for _ in range(4)], return_exceptions=True)
    reasons = sorted(one.reason for one in made if isinstance(one, Problem))
    assert reasons == ["TOO_MANY_SAVED_VIEWS"] * 2 and len(await listed(company)) == 2
    await save(company, record_type="contact")
