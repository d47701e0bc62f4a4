"""What is due: in the morning of its day, once more the next, and never when it is done; and what is cleared away."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from kehu.identity.v1 import events_pb2 as identity
from sqlalchemy import text

from chassis.testing import eventually
from notifications.clearing import CLEARING
from notifications.reminder import REMINDER, mornings
from notifications.testing import Office, activity

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("due", "zone", "first", "second"),
    [
        ("2026-03-05T07:00", "Asia/Shanghai", "2026-03-05T00:00", "2026-03-06T00:00"),
        ("2026-03-05T16:30", "Asia/Shanghai", "2026-03-05T16:30", "2026-03-07T00:00"),
        ("2026-03-28T18:00", "Europe/Berlin", "2026-03-28T07:00", "2026-03-29T06:00"),
        ("2026-03-05T04:59", "America/New_York", "2026-03-04T13:00", "2026-03-05T13:00"),
    ],
)
async def test_mornings_are_those_of_the_place(due: str, zone: str, first: str, second: str) -> None:
    def at(said: str) -> datetime:
        return datetime.fromisoformat(said).replace(tzinfo=UTC)

    assert mornings(at(due), zone) == (at(first), at(second))


async def _jobs(office: Office, id: UUID) -> list[datetime]:
    sql = "SELECT due_at FROM jobs WHERE kind = $1 AND key = $2 AND state = 'waiting'"
    rows = await office.service.running.database.read(office.boss, sql, REMINDER, str(id))
    return [row["due_at"] for row in rows]


async def _titles(office: Office) -> list[str]:
    return [one.title for one in await office.inbox(office.ann, order_by="createTime")]


async def test_what_is_overdue_is_told_at_once_and_only_once(office: Office) -> None:
    id, before = uuid4(), NOW - timedelta(days=4)
    await office.hear(activity("Planned", office.ann, NOW - timedelta(days=3)), id, by=office.ann, at=before)

    async def told() -> bool:
        return await _titles(office) == ["已逾期：回访"]

    await eventually(told)
    await office.job(REMINDER, {"activity": str(id)})
    assert await told() and await _jobs(office, id) == []
    (one,) = await office.inbox(office.ann)
    assert one.record_type == "activity" and one.record_id == str(id) and one.HasField("due_time")


async def test_of_what_was_overdue_when_it_was_planned_nobody_is_reminded(office: Office) -> None:
    old = uuid4()
    await office.hear(activity("Planned", office.ann, NOW - timedelta(days=3)), old, by=office.ann)
    assert await _jobs(office, old) == [] and await _titles(office) == []
    # Until another day is set.
    later = NOW + timedelta(days=3)
    await office.hear(activity("Updated", office.ann, later), old, 2, by=office.ann)
    assert await _jobs(office, old) == [mornings(later, "Asia/Shanghai")[0]]


async def test_what_is_due_today_is_told_today_and_tomorrow_again(office: Office) -> None:
    await office.hear(identity.TenantUpdated(time_zone="Pacific/Kiritimati"), office.boss.tenant_id, 1)
    id, due = uuid4(), NOW - timedelta(minutes=1)
    await office.hear(activity("Planned", office.ann, due), id, by=office.ann)
    _, second = mornings(due, "Pacific/Kiritimati")

    async def told() -> bool:
        return await _titles(office) == ["今日到期：回访"]

    await eventually(told)

    async def waits() -> bool:
        return await _jobs(office, id) == [second]

    await eventually(waits)


async def test_what_is_done_moved_or_not_yet_due_is_not_told(office: Office) -> None:
    later = NOW + timedelta(days=30)
    done, moved, gone = uuid4(), uuid4(), uuid4()
    past = NOW - timedelta(days=3)
    # The end of the story comes first.
    await office.hear(activity("Completed", office.ann, past, "COMPLETED"), done, 2, by=office.ann)
    await office.hear(activity("Planned", office.ann, past), done, 1, by=office.ann)
    await office.hear(activity("Updated", office.ann, later), moved, 2, by=office.ann)
    await office.hear(activity("Planned", office.ann, past), moved, 1, by=office.ann)
    await office.hear(activity("Deleted", office.ann, past), gone, 2, by=office.ann)
    for id in (done, moved, gone):
        await office.job(REMINDER, {"activity": str(id)})
    assert await _titles(office) == []
    assert await _jobs(office, moved) == [mornings(later, "Asia/Shanghai")[0]] and not await _jobs(
        office, done
    )


async def test_what_another_plans_for_somebody_is_told_at_once(office: Office) -> None:
    await office.hear(activity("Planned", office.ann, NOW + timedelta(days=9)), uuid4())
    assert await _titles(office) == ["王经理将活动“回访”分配给了你"]


async def test_after_90_days_it_is_cleared_away(office: Office) -> None:
    await office.given(name="old")
    await office.given(name="new")
    database = office.service.running.database
    (new, old) = await office.inbox(office.ann)
    async with database.transaction(office.boss) as tx:
        past = {"id": UUID(old.id), "then": NOW - timedelta(days=91)}
        await tx.session.execute(text("UPDATE notifications SET created_at = :then WHERE id = :id"), past)
        await tx.session.execute(text("UPDATE causes SET created_at = :then"), {"then": past["then"]})
    waiting = "SELECT 1 FROM jobs WHERE kind = $1 AND due_at > now() + interval '23 hours'"
    assert len(await database.read(office.boss, waiting, CLEARING)) == 1
    for _ in range(2):
        await office.job(CLEARING, {})
    assert [one.id for one in await office.inbox(office.ann)] == [new.id]
    assert await office.unread(office.ann) == 1
    assert [
        data["unreadCount"] for name, _, data in await office.events() if name.endswith("inbox.changed")
    ] == [1]
    assert await database.read(office.boss, "SELECT 1 FROM causes") == []
    assert len(await database.read(office.boss, waiting, CLEARING)) == 1
