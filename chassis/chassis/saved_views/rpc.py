"""The gRPC face of saved views: messages of kehu.savedviews.v1 in and out. Any service mounts it in one line.

saved_views_face("kehu.customers.v1.SavedViewService", SAVED_VIEWS)
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf.empty_pb2 import Empty
from kehu.savedviews.v1 import saved_views_pb2 as pb
from sqlalchemy import text

from chassis.custom_fields.definitions import definitions, definitions_now
from chassis.custom_fields.known import NONE, Definitions
from chassis.database import Transaction
from chassis.errors import Denied, Invalid, NotFound
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import Listing
from chassis.mapping import Mapping as RowMapping
from chassis.principal import Act, Principal
from chassis.rpc.call import Call
from chassis.rpc.face import Face, need
from chassis.saved_views.switch import SavedViewBroken, SavedViews, Viewed
from chassis.saved_views.view import (
    SavedView,
    change_view,
    clear_default,
    drop_view,
    make_default,
    may_change,
    save_view,
    teams_of,
)

MOST_COUNTED = 10_000
VIEW = RowMapping(
    pb.SavedView, skip=["default", "problems", "changeable"], columns={"record_type": "of_type"}
)
VIEWS = Listing(
    SavedView,
    right=None,
    fields={
        "position": Field("position", Kind.INTEGER, sortable=True),
        "displayName": Field("display_name", Kind.TEXT, sortable=True),
    },
    default_order="position, displayName",
    # All are lists in one text: the caller and the teams, the record types, and those of which the caller may change all.
    narrowings={
        "seenBy": "(t.owner_id = split_part(split_part({}, ',', 1), ' ', 1)::uuid OR t.sharing = 'EVERYONE'"
        " OR (t.sharing = 'TEAM' AND (t.shared_team_id = ANY(string_to_array(split_part({}, ',', 1), ' ')::uuid[])"
        " OR t.of_type = ANY(string_to_array(split_part({}, ',', 2), ' ')))))",
        "types": "t.of_type = ANY(string_to_array({}, ' '))",
    },
)
_DEFAULTS = "SELECT view_id FROM saved_view_defaults WHERE person_id = $1"
_IS_DEFAULT = text("SELECT 1 FROM saved_view_defaults WHERE person_id = :person AND view_id = :view")


def _message(row: Any, who: Principal, viewed: Viewed, known: Definitions, *, default: bool) -> pb.SavedView:
    """A view; `row` is a row object or a row of the read path."""
    message = VIEW.message(row)
    message.default = default
    message.changeable = may_change(who, viewed.right, row)
    read = row.__getitem__ if hasattr(row, "keys") else row.__getattribute__
    values = {name: read(name) for name in ("filter", "order_by", "columns")}
    for trouble in viewed.troubles(known, values):
        message.problems.add(field=trouble.field, reason=trouble.reason, message=trouble.message)
    return message


def saved_views_face(service: str, views: SavedViews) -> Face:
    """The face of that SavedViewService."""
    face = Face(service)

    async def messages(call: Call, rows: Sequence[Any]) -> list[pb.SavedView]:
        known: dict[str, Definitions] = {}
        for of_type in {row["of_type"] for row in rows}:
            has = views.of(of_type, "recordType").listing.has_custom_fields
            known[of_type] = await definitions_now(call.database, call.who, of_type) if has else NONE
        defaults = {
            one["view_id"] for one in await call.database.read(call.who, _DEFAULTS, call.who.person_id)
        }
        return [
            _message(
                row, call.who, views.of(row["of_type"], "recordType"), known[row["of_type"]],
                default=row["id"] in defaults,
            )
            for row in rows
        ]  # fmt: skip

    async def seen(call: Call, id: str) -> Any:
        row = await VIEWS.get(call, id)
        views.check_seen(call.who, row)
        return row

    async def get(request: pb.GetSavedViewRequest, call: Call) -> pb.SavedView:
        return (await messages(call, [await seen(call, request.id)]))[0]

    async def list_views(request: pb.ListSavedViewsRequest, call: Call) -> pb.ListSavedViewsResponse:
        types = views.readable(call.who)
        if request.record_type:
            views.of(request.record_type, "recordType")
            types = [name for name in types if name == request.record_type]
        teams = sorted(str(team) for team in teams_of(call.who))
        seen_by = " ".join([str(call.who.person_id), *teams]) + "," + " ".join(views.changeable(call.who))
        where = {"seenBy": seen_by, "types": " ".join(types)}
        page = await VIEWS.page(call, request, where)
        return pb.ListSavedViewsResponse(
            saved_views=await messages(call, page.rows), next_page_token=page.next_page_token
        )

    async def known_in(tx: Transaction, viewed: Viewed) -> Definitions:
        return await definitions(tx, viewed.listing.record_type) if viewed.listing.has_custom_fields else NONE

    async def locked(tx: Transaction, id: str, field: str) -> tuple[SavedView, Viewed]:
        key = parse_id(id, field)
        view = await tx.find(SavedView, key)
        if view is None:
            raise NotFound("saved view", key)
        views.check_seen(tx.who, view)
        return view, views.of(view.of_type, "recordType")

    async def changeable(tx: Transaction, id: str, etag: str, field: str) -> tuple[SavedView, Viewed]:
        view, viewed = await locked(tx, id, field)
        if not may_change(tx.who, viewed.right, view):
            raise Denied("You may see this view but not change it.", reason="RECORD_READ_ONLY")
        tx.check_etag(view, etag)
        return view, viewed

    async def answer(tx: Transaction, view: SavedView, viewed: Viewed) -> pb.SavedView:
        await tx.session.flush()
        found = await tx.session.execute(_IS_DEFAULT, {"person": tx.who.person_id, "view": view.id})
        default = found.first() is not None
        return _message(view, tx.who, viewed, await known_in(tx, viewed), default=default)

    async def create(request: pb.CreateSavedViewRequest, tx: Transaction) -> pb.SavedView:
        viewed = views.of(request.saved_view.record_type, "savedView.recordType")
        need(tx.who, viewed.right, Act.READ)
        values = VIEW.values(request.saved_view)
        viewed.check(await known_in(tx, viewed), values)
        return await answer(tx, await save_view(tx, viewed.right, values), viewed)

    async def update(request: pb.UpdateSavedViewRequest, tx: Transaction) -> pb.SavedView:
        asked = request.saved_view
        view, viewed = await changeable(tx, asked.id, asked.etag, "savedView.id")
        values = VIEW.values(asked, request.update_mask)
        viewed.check(await known_in(tx, viewed), values)
        await change_view(tx, viewed.right, view, values)
        return await answer(tx, view, viewed)

    async def delete(request: pb.DeleteSavedViewRequest, tx: Transaction) -> Empty:
        view, _ = await changeable(tx, request.id, request.etag, "id")
        await drop_view(tx, view)
        return Empty()

    async def count(request: pb.CountSavedViewRequest, call: Call) -> pb.CountSavedViewResponse:
        row = await seen(call, request.id)
        listing = views.of(row["of_type"], "recordType").listing
        try:
            found = await listing.count(call, row["filter"], most=MOST_COUNTED + 1)
        except Invalid as problem:
            said = problem.violations[0].description
            raise SavedViewBroken(f"The filter of this view is none any longer: {said}.") from None
        return pb.CountSavedViewResponse(count=min(found, MOST_COUNTED), more=found > MOST_COUNTED)

    async def make(request: pb.MakeDefaultSavedViewRequest, tx: Transaction) -> pb.SavedView:
        view, viewed = await locked(tx, request.id, "id")
        await make_default(tx, view)
        return await answer(tx, view, viewed)

    async def clear(request: pb.ClearDefaultSavedViewRequest, tx: Transaction) -> pb.SavedView:
        view, viewed = await locked(tx, request.id, "id")
        await clear_default(tx, view)
        return await answer(tx, view, viewed)

    face.read("GetSavedView")(get)
    face.read("ListSavedViews")(list_views)
    face.write("CreateSavedView")(create)
    face.write("UpdateSavedView")(update)
    face.write("DeleteSavedView")(delete)
    face.read("CountSavedView")(count)
    face.write("MakeDefaultSavedView")(make)
    face.write("ClearDefaultSavedView")(clear)
    return face
