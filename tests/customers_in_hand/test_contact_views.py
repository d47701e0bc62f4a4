"""The lists of the week: who is to be contacted, who was, and who was not, by what sales tells."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from kehu.customers.v1 import contact_view_service_pb2 as views
from kehu.sales.v1 import activity_pb2, activity_service_pb2

from chassis.errors import Code
from chassis.principal import Principal, Rights
from chassis.testing import eventually, refused
from customers.weeks import week_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
Make = Callable[[], Awaitable[Any]]
NEXT, DONE, NOT_DONE = (
    views.CONTACT_VIEW_TO_CONTACT_NEXT_WEEK,
    views.CONTACT_VIEW_CONTACTED_LAST_WEEK,
    views.CONTACT_VIEW_NOT_CONTACTED_LAST_WEEK,
)
HOME = "Asia/Shanghai"


async def seen(c: Any, view: Any, who: Principal | None = None, **asked: Any) -> set[str]:
    """The ids of a view, through all pages."""
    found = set[str]()
    request = views.ListCustomersByContactRequest(view=view, page_size=2, **asked)
    while True:
        page = await c.ask(
            "ContactViewService/ListCustomersByContact", request, views.ListCustomersByContactResponse, who
        )
        assert len(page.customers) <= 2
        found |= {one.id for one in page.customers}
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def done(c: Any, customer: str, owner: Principal, at: datetime) -> None:
    """Somebody spoke with the customer at that time."""
    id = await c.activity(customer, owner)
    request = activity_service_pb2.CompleteActivityRequest(id=id, result="spoke", complete_time=stamp(at))
    await c.sales.ask(
        c.boss, "kehu.sales.v1.ActivityService/CompleteActivity", request, activity_pb2.Activity
    )


def stamp(at: datetime) -> Timestamp:
    out = Timestamp()
    out.FromDatetime(at)
    return out


async def test_the_three_lists(company: Make) -> None:
    c, rival = await company(), await company()
    ann, bob = [await c.person(name) for name in ("Ann", "Bob")]
    now = datetime.now(UTC)
    last, (this, _), following = (week_of(now, HOME, n) for n in (-1, 0, 1))
    spoken, twice, planned, both, theirs = [await c.customer(owner) for owner in (ann, ann, ann, ann, bob)]
    await c.customer(ann)  # of this week
    old = [spoken, twice, planned, both, theirs]
    await c.execute(
        "UPDATE customers SET created_at = :p0 WHERE id = ANY(CAST(:p1 AS uuid[]))",
        last[0] - timedelta(days=9),
        old,
    )
    await done(c, spoken, ann, last[0])
    await done(c, spoken, ann, last[1] - timedelta(seconds=1))
    # That somebody spoke with it since, or that something is overdue, hides nobody.
    await done(c, twice, ann, last[0] + timedelta(days=2))
    await done(c, twice, ann, this)
    await c.activity(both, ann, int((now - timedelta(days=30)).timestamp()))
    await c.activity(both, ann, int((following[1] - timedelta(seconds=1)).timestamp()))
    await c.activity(planned, ann, int(following[0].timestamp()))
    await c.activity(spoken, ann, int(following[1].timestamp()))  # the week after
    await done(c, theirs, bob, last[0] + timedelta(days=1))

    async def heard() -> bool:
        rows = await c.rows("SELECT count(*) AS n FROM customer_activities WHERE state = 'COMPLETED'")
        planned = await c.rows("SELECT count(*) AS n FROM customer_activities WHERE state = 'PLANNED'")
        return (rows[0]["n"], planned[0]["n"]) == (5, 4)

    await eventually(heard, 60)
    assert await seen(c, NEXT) == {planned, both}
    assert await seen(c, DONE) == {spoken, twice, theirs}
    assert await seen(c, NOT_DONE) == {planned, both}, (
        "whoever came this week could not be contacted last week"
    )
    # What one may see, and no more; and filtered, searched and ordered like other lists.
    assert await seen(c, DONE, ann) == {spoken, twice} and await seen(c, DONE, bob) == {theirs}
    await c.share(spoken, who=ann, person_id=str(bob.person_id))
    assert await seen(c, DONE, bob) == {theirs, spoken}
    assert await seen(c, DONE, filter=f'ownerId = "{bob.person_id}"') == {theirs}
    assert await seen(c, DONE, order_by="lastContactTime desc") == {spoken, twice, theirs}
    name = (await c.get(twice)).display_name
    assert await seen(c, DONE, query=name) >= {twice}
    assert await seen(rival, DONE) == set() == await seen(rival, NOT_DONE)
    assert {(await c.get(twice)).last_contact_time.ToDatetime(tzinfo=UTC), this} == {this}
    # In another time zone the week begins at another time: the first second of the one is the week before in the other.
    west = await seen(c, NEXT, time_zone="America/Los_Angeles")
    if (
        timedelta(0) < week_of(now, "America/Los_Angeles")[0] - this < timedelta(days=1)
    ):  # it is the same week there
        assert planned not in west and both in west
    # The wrong way.
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", seen(c, views.CONTACT_VIEW_UNSPECIFIED))
    await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", seen(c, DONE, time_zone="Mars/Olympus"))
    await refused(Code.INVALID_ARGUMENT, "FILTER_INVALID", seen(c, DONE, filter="x ="))
    nobody = replace(ann, rights={"customers": Rights()})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", seen(c, DONE, nobody))
    first = views.ListCustomersByContactRequest(view=DONE, page_size=1)
    page = await c.ask(
        "ContactViewService/ListCustomersByContact", first, views.ListCustomersByContactResponse
    )
    await refused(
        Code.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH", seen(c, NEXT, page_token=page.next_page_token)
    )
