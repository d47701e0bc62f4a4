"""Saved views of three kinds of record, each under a right of its own."""

from dataclasses import replace
from typing import Any

import pytest
from kehu.savedviews.v1 import saved_views_pb2 as pb

from chassis.errors import Code
from chassis.ids import new_id
from chassis.principal import Reach, Rights

pytestmark = pytest.mark.asyncio(loop_scope="module")
VIEWS = "SavedViewService/"


def view(record_type: str, **values: Any) -> pb.CreateSavedViewRequest:
    said: dict[str, Any] = {"record_type": record_type, "display_name": f"{record_type} {new_id()}", **values}
    return pb.CreateSavedViewRequest(saved_view=pb.SavedView(**said))


async def test_each_kind_has_its_own_fields(sales: Any) -> None:
    for record_type, filter, column in (
        ("opportunity", 'status = OPEN AND amount > "1000 CNY"', "expectedCloseDate"),
        ("product", "status = ACTIVE", "listPrice"),
        ("order", "status = PLACED AND total > 5", "total"),
    ):
        made = await sales.ask(
            VIEWS + "CreateSavedView", view(record_type, filter=filter, columns=[column]), pb.SavedView
        )
        asked = pb.CountSavedViewRequest(id=made.id)
        assert (await sales.ask(VIEWS + "CountSavedView", asked, pb.CountSavedViewResponse)).count >= 0
    await sales.refused(
        Code.INVALID_ARGUMENT, "FILTER_INVALID", VIEWS + "CreateSavedView",
        view("product", filter="amount > 1"), pb.SavedView,
    )  # fmt: skip
    await sales.refused(
        Code.INVALID_ARGUMENT, "FILTER_INVALID", VIEWS + "CreateSavedView",
        view("order", filter="customFields.x = 1"), pb.SavedView,
    )  # fmt: skip
    await sales.refused(
        Code.INVALID_ARGUMENT, "COLUMNS_INVALID", VIEWS + "CreateSavedView",
        view("order", columns=["customFields.x"]), pb.SavedView,
    )  # fmt: skip


async def test_who_reads_products_only_sees_views_of_products(sales: Any) -> None:
    shared = {
        kind: (
            await sales.ask(
                VIEWS + "CreateSavedView", view(kind, sharing=pb.SAVED_VIEW_SHARING_EVERYONE), pb.SavedView
            )
        ).id
        for kind in ("opportunity", "product", "order")
    }
    clerk = replace(sales.boss, person_id=new_id(), rights={"products": Rights(Reach.ALL, Reach.NONE)})
    found = await sales.ask(
        VIEWS + "ListSavedViews", pb.ListSavedViewsRequest(page_size=200), pb.ListSavedViewsResponse, clerk
    )
    assert {one.record_type for one in found.saved_views} == {"product"}
    assert shared["product"] in {one.id for one in found.saved_views}
    await sales.refused(
        Code.NOT_FOUND, "NOT_FOUND", VIEWS + "GetSavedView", pb.GetSavedViewRequest(id=shared["order"]), pb.SavedView,
        clerk,
    )  # fmt: skip
    await sales.refused(
        Code.PERMISSION_DENIED, "RIGHT_MISSING", VIEWS + "CreateSavedView", view("order"), pb.SavedView, clerk
    )
    own = await sales.ask(VIEWS + "CreateSavedView", view("product"), pb.SavedView, clerk)
    assert own.changeable
