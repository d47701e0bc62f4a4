"""Live events: what a person may see, and how long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from uuid import uuid4

import nats
import pytest

from chassis.principal import Reach, Rights
from chassis.testing import somebody
from gateway import sessions, stream
from gateway.stream import may_see
from gateway.testing import House

TEAM = uuid4()


@pytest.mark.parametrize(
    ("reach", "owner", "team", "sees"),
    [
        (Reach.ALL, None, None, True),
        (Reach.ALL, "other", None, True),
        (Reach.ALL, "none", None, True),
        (Reach.TEAM, "other", TEAM, True),
        (Reach.TEAM, "other", uuid4(), False),
        (Reach.TEAM, "none", None, False),
        (Reach.TEAM, "self", None, True),
        (Reach.OWN, "self", uuid4(), True),
        (Reach.OWN, "other", TEAM, False),
        (Reach.OWN, "none", None, False),
        (Reach.OWN, None, None, True),
        (Reach.NONE, "self", TEAM, False),
        (Reach.NONE, None, None, False),
    ],
)
def test_reach_decides(reach: Reach, owner: str | None, team: object, sees: bool) -> None:
    who = somebody(rights={"leads": Rights(reach, Reach.NONE)}, team=TEAM)
    headers = {"ce-tenant": who.tenant, "kehu-right": "leads"}
    if owner is not None:
        headers["kehu-owner"] = str(who.person_id) if owner == "self" else owner
    if team is not None:
        headers["kehu-team"] = str(team)
    assert may_see(who, headers) is sees
    assert not may_see(who, {**headers, "ce-tenant": "another"})
    assert not may_see(who, {**headers, "kehu-right": ""})
    assert not may_see(who, {**headers, "kehu-right": "orders"})


@pytest.mark.parametrize(
    ("reach", "shared", "sees"),
    [
        (Reach.OWN, ["self"], True),
        (Reach.OWN, ["other", "team"], True),
        (Reach.OWN, ["below"], False),
        (Reach.TEAM, ["below"], True),
        (Reach.TEAM, ["other"], False),
        (Reach.OWN, [], False),
        (Reach.NONE, ["self"], False),
    ],
)
def test_what_is_shared_is_heard(reach: Reach, shared: list[str], sees: bool) -> None:
    below = uuid4()
    who = replace(
        somebody(rights={"leads": Rights(reach, Reach.NONE)}, team=TEAM), team_ids=frozenset([TEAM, below])
    )
    names = {"self": who.person_id, "team": TEAM, "below": below, "other": uuid4()}
    headers = {"ce-tenant": who.tenant, "kehu-right": "leads", "kehu-owner": str(uuid4())}
    headers["kehu-shared"] = ",".join(str(names[name]) for name in shared)
    assert may_see(who, headers) is sees
    assert not may_see(who, {**headers, "ce-tenant": "another"})


async def lines(answer: Any) -> AsyncIterator[str]:
    async for line in answer.aiter_lines():
        if line:
            yield line


async def connected(house: House) -> None:
    while not (await house.http.get("/readyz")).json()["broker"]:
        await asyncio.sleep(0.02)


def event_of(tenant: str, owner: str, id: str) -> dict[str, str]:
    return {"ce-id": id, "ce-tenant": tenant, "kehu-right": "leads", "kehu-owner": owner, "ce-subject": "r1"}


async def test_a_person_hears_of_their_records_only(house: House, nats_url: str) -> None:
    await connected(house)
    ann = replace(house.ann, rights={"leads": Rights(Reach.OWN, Reach.OWN)})
    bus = await nats.connect(nats_url)
    async with house.http.stream("GET", "/v1/events:stream", headers=house.bearer(ann)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = lines(answer)
        assert await anext(found) == "retry: 2000"
        subject = f"kehu.{ann.tenant}.leads.lead.created"
        for id, owner in (("e1", str(uuid4())), ("e2", "none"), ("e3", str(ann.person_id))):
            await bus.publish(subject, b'{"leadId":"r1"}', headers=event_of(ann.tenant, owner, id))
        await bus.publish(
            "kehu.rival.leads.lead.created", b"{}", headers=event_of("rival", str(ann.person_id), "e4")
        )
        assert await anext(found) == "id: e3"
        assert await anext(found) == "event: leads.lead.created"
        data = await anext(found)
        assert '"data":{"leadId":"r1"}' in data and '"recordId":"r1"' in data
    await bus.close()


async def test_what_is_for_one_person_is_heard_by_nobody_else(house: House, nats_url: str) -> None:
    """An administrator of the same company and the same person's id in another company hear nothing of it."""
    await connected(house)
    ann, boss = replace(house.ann, rights={}), house.somebody_of(house.ann.tenant)
    rival = replace(house.somebody_of("rival"), person_id=ann.person_id)
    bus = await nats.connect(nats_url)
    async with AsyncExitStack() as stack:
        heard: list[AsyncIterator[str]] = []
        for who in (ann, boss, rival):
            stream = house.http.stream("GET", "/v1/events:stream", headers=house.bearer(who))
            heard.append(lines(await stack.enter_async_context(stream)))
        assert [await anext(one) for one in heard] == ["retry: 2000"] * 3
        personal = {
            "ce-id": "n1", "ce-tenant": ann.tenant, "kehu-right": "", "kehu-for": str(ann.person_id),
            "kehu-owner": str(ann.person_id), "ce-subject": "n1",
        }  # fmt: skip
        await bus.publish(f"kehu.{ann.tenant}.notifications.notification.created", b"{}", headers=personal)
        others = {**event_of(ann.tenant, "none", "after"), "kehu-for": str(boss.person_id)}
        await bus.publish(f"kehu.{ann.tenant}.notifications.inbox.changed", b"{}", headers=others)
        theirs = {**personal, "ce-id": "abroad", "ce-tenant": "rival"}
        await bus.publish("kehu.rival.notifications.notification.created", b"{}", headers=theirs)
        assert [await anext(one) for one in heard] == ["id: n1", "id: after", "id: abroad"]
    await bus.close()


async def test_a_stream_ends_with_its_session(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await connected(house)
    # The longest a dead session may be heard: what is remembered, the pause between looks, the wait for an event.
    assert sessions.FRESH + stream._RECHECK + 1.0 < 5.0  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(sessions, "FRESH", 0.2)
    async with house.http.stream("GET", "/v1/events:stream", headers=house.bearer()) as answer:
        found = lines(answer)
        await anext(found)
        house.living.clear()
        async with asyncio.timeout(5):
            assert [line async for line in found if not line.startswith(":")] == []
    assert (await house.http.get("/v1/events:stream")).status_code == 401


async def test_who_asks_for_one_subject_is_not_drowned_by_others(house: House, nats_url: str) -> None:
    await connected(house)
    bus = await nats.connect(nats_url)
    asked = {"subject": "leads.import.progressed"}
    async with house.http.stream("GET", "/v1/events:stream", params=asked, headers=house.bearer()) as answer:
        found = lines(answer)
        assert await anext(found) == "retry: 2000"
        for n in range(1_000):  # more than a stream that nobody reads would hold
            headers = event_of(house.ann.tenant, "none", f"e{n}")
            await bus.publish(f"kehu.{house.ann.tenant}.leads.lead.created", b"{}", headers=headers)
        headers = event_of(house.ann.tenant, str(house.ann.person_id), "progress")
        await bus.publish(f"kehu.{house.ann.tenant}.leads.import.progressed", b"{}", headers=headers)
        assert await anext(found) == "id: progress"
    await bus.close()
    for query in (
        "types=x",
        "subject=",
        "subject=" + "x" * 101,
        "&".join(f"subject=s{n}" for n in range(51)),
        "subject=leads.import.progressed&subject=leads.lead.imported",
        "subject=leads.*",
    ):
        refused = await house.http.get(f"/v1/events:stream?{query}", headers=house.bearer())
        assert refused.status_code == 400, query
