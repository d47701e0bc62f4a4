"""Notifications: what one person should know of, told once for each cause.

An event tells a person once, however often it comes and whoever replays it: its id and the person are kept with the notification
it made. Many of a kind that come at once, as from an import or a transfer, are told one by one up to ten a minute; the others are
gathered in one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import NotFound
from chassis.events.event import OwnedEvent
from chassis.ids import new_id
from chassis.principal import NOBODY
from chassis.records import Record
from notifications.clearing import await_clearing
from notifications.inbox import Inbox, inbox_of, muted, recount, tell_changes
from notifications.wording import CHINESE, ENGLISH, Subject, worded

ONE_BY_ONE = 10
"""How many of a kind and from the same person are told one by one within `AT_ONCE`."""
AT_ONCE = timedelta(minutes=1)
_GATHERED = timedelta(minutes=10)
"""How long a notification of many goes on gathering."""


class Notification(Record, table=True):
    """One notification in one inbox."""

    __tablename__ = "notifications"  # pyright: ignore[reportAssignmentType]

    person_id: UUID
    kind: str
    wording: str
    spoken_of: dict[str, str] = Field(default_factory=dict[str, str], sa_type=JSONB)
    """What the wording speaks of: the record's name."""
    about_type: str
    about_id: UUID | None = None
    """The record, where it is about one."""
    actor_id: UUID | None = None
    actor_name: str = ""
    due_time: datetime | None = None
    record_count: int = 1
    unread: bool = True
    read_time: datetime | None = None
    archived: bool = False
    archive_time: datetime | None = None
    withdrawn: bool = False
    """Whether the person was let see the record, and no longer is."""


@dataclass(frozen=True, kw_only=True)
class NotificationSnapshot:
    kind: str
    title_en: str
    title_zh: str
    record_type: str
    record_id: UUID | None
    actor_id: UUID | None
    due_time: datetime | None


@dataclass(frozen=True, kw_only=True)
class NotificationCreated(OwnedEvent):
    notification_id: UUID
    notification: NotificationSnapshot
    unread_count: int


@dataclass(frozen=True, slots=True)
class News:
    """What there is to tell. `many` is the wording for a number of such."""

    kind: str
    wording: str
    record_type: str
    record_id: UUID
    name: str = ""
    due_time: datetime | None = None
    many: str = ""


def title(read: Any, language: str) -> str:
    """The sentence of a notification; `read` gives its columns."""
    of = Subject(
        read("about_type"), read("spoken_of").get("name", ""), read("actor_name"), read("record_count")
    )
    return worded(read("wording"), of, language)


# The cause comes with its effect or not at all; whoever comes second waits for the first to commit, and finds it.
_CAUSED = text(
    "INSERT INTO causes (tenant_id, event_id, person_id, created_at) VALUES (:tenant, :event, :person, :now)"
    " ON CONFLICT DO NOTHING RETURNING event_id"
)
_RECENT = text(
    "SELECT count(*) FROM notifications WHERE person_id = :person AND kind = :kind AND about_type = :type"
    " AND actor_id IS NOT DISTINCT FROM :actor AND created_at > :since"
)
_GATHERING = text(
    "SELECT id FROM notifications WHERE person_id = :person AND kind = :kind AND about_type = :type"
    " AND actor_id IS NOT DISTINCT FROM :actor AND about_id IS NULL AND unread AND NOT archived AND created_at > :since"
    " ORDER BY created_at DESC LIMIT 1"
)


async def tell(tx: Transaction, cause: UUID, person_id: UUID, news: News) -> Notification | None:
    """Tells a person; None when the cause has been told before, or the person does not want to know.

    The caller of the transaction is who caused it.
    """
    inbox = await inbox_of(tx, person_id)
    caused = {"tenant": tx.who.tenant_id, "event": cause, "person": person_id, "now": tx.now}
    if (await tx.session.execute(_CAUSED, caused)).first() is None:
        return None
    await await_clearing(tx)
    if await muted(tx, person_id, news.kind):
        return None
    actor = None if tx.who.person_id == NOBODY else tx.who.person_id
    made = Notification(
        id=new_id(), person_id=person_id, kind=news.kind, wording=news.wording, spoken_of={"name": news.name},
        about_type=news.record_type, about_id=news.record_id, actor_id=actor, actor_name=tx.who.name,
        due_time=news.due_time,
    )  # fmt: skip
    if news.many and await _gathered(tx, made, news.many):
        # The count stays, and what an open inbox shows does not.
        await tell_changes(tx, inbox, anyway=True)
        return None
    tx.add(made)
    await recount(tx, inbox)
    snapshot = NotificationSnapshot(
        kind=made.kind, title_en=title(made.__getattribute__, ENGLISH), title_zh=title(made.__getattribute__, CHINESE),
        record_type=made.about_type, record_id=made.about_id, actor_id=made.actor_id, due_time=made.due_time,
    )  # fmt: skip
    created = NotificationCreated(
        notification_id=made.id, owner_id=person_id, team_id=None, notification=snapshot, unread_count=inbox.unread_count
    )  # fmt: skip
    tx.record(created, on=made)
    return made


async def _gathered(tx: Transaction, made: Notification, many: str) -> bool:
    """Whether it was added to those that are told as a number. When it is the first of these, it becomes that."""
    await tx.session.flush()
    alike = {"person": made.person_id, "kind": made.kind, "type": made.about_type, "actor": made.actor_id}
    if (await tx.session.execute(_RECENT, {**alike, "since": tx.now - AT_ONCE})).scalar_one() < ONE_BY_ONE:
        return False
    id = (await tx.session.execute(_GATHERING, {**alike, "since": tx.now - _GATHERED})).scalar_one_or_none()
    gathering = None if id is None else await tx.find(Notification, UUID(str(id)))
    if gathering is None:
        made.wording, made.about_id, made.spoken_of = many, None, {}
        return False
    gathering.record_count += 1
    return True


_RENAMED = text(
    "UPDATE notifications SET spoken_of = jsonb_build_object('name', CAST(:name AS text)), version = version + 1,"
    " updated_at = :now, updated_by = :by WHERE about_id = :id AND about_type = :type"
    " AND (person_id = CAST(:owner AS uuid) OR wording IN ('shared', 'shared by itself') AND NOT withdrawn)"
)


async def rename(tx: Transaction, record_type: str, id: UUID, name: str, owner_id: UUID | None) -> None:
    """A record is called otherwise: what its owner, and those with whom it is shared, were told of it says so. Whoever had it
    before keeps what they were told."""
    renamed = {
        "name": name, "id": id, "type": record_type, "now": tx.now, "by": tx.who.person_id, "owner": owner_id
    }  # fmt: skip
    await tx.session.execute(_RENAMED, renamed)


_WITHDRAW = text(
    "UPDATE notifications SET withdrawn = true WHERE about_id = :id AND about_type = :type AND person_id = :person"
)


async def withdraw(tx: Transaction, record_type: str, id: UUID, person_id: UUID) -> None:
    """A record is no longer shared with that person."""
    await tx.session.execute(_WITHDRAW, {"id": id, "type": record_type, "person": person_id})


_FORGET = text("UPDATE notifications SET spoken_of = '{}' WHERE about_id = :id AND spoken_of <> '{}'")


async def forget(tx: Transaction, id: UUID, person: bool) -> None:
    """A record left the trash for good: what was told of it no longer says what it was called."""
    await tx.session.execute(_FORGET, {"id": id})


_WHOSE = text(
    "SELECT DISTINCT person_id FROM notifications WHERE about_id = :id AND about_type = :type ORDER BY person_id"
)
_HIDE = text(
    "UPDATE notifications SET deleted_at = :at, version = version + 1, updated_at = :now, updated_by = :by"
    " WHERE about_id = :id AND about_type = :type AND person_id = :person AND (deleted_at IS NULL) = :there"
)


async def hide(tx: Transaction, record_type: str, id: UUID, *, hidden: bool) -> None:
    """A record was deleted, or came back: what was told of it goes from the inboxes, or comes back."""
    about = {"id": id, "type": record_type}
    for person in (await tx.session.execute(_WHOSE, about)).scalars().all():
        inbox = await inbox_of(tx, UUID(str(person)))
        gone = {
            **about, "at": tx.now if hidden else None, "now": tx.now, "by": tx.who.person_id, "person": inbox.id,
            "there": hidden,
        }  # fmt: skip
        await tx.session.execute(_HIDE, gone)
        await tell_changes(tx, inbox)


async def own(tx: Transaction, id: UUID) -> tuple[Inbox, Notification]:
    """The caller's notification of that id and their inbox, locked. Raises NotFound, for other people's too."""
    inbox = await inbox_of(tx, tx.who.person_id)
    found = await tx.find(Notification, id)
    if found is None or found.person_id != tx.who.person_id:
        raise NotFound("notification", id)
    return inbox, found


async def mark(tx: Transaction, id: UUID, *, unread: bool) -> Notification:
    """Notes that the caller has read it, or that it counts as unread. Raises NotFound."""
    inbox, found = await own(tx, id)
    if found.unread != unread:
        found.unread = unread
        found.read_time = None if unread else tx.now
        await tell_changes(tx, inbox)
    return found


async def put_away(tx: Transaction, id: UUID, *, archived: bool) -> Notification:
    """Puts it away, or takes it back. Raises NotFound."""
    inbox, found = await own(tx, id)
    if found.archived != archived:
        found.archived = archived
        found.archive_time = tx.now if archived else None
        await tell_changes(tx, inbox)
    return found


_READ = text(
    "UPDATE notifications SET unread = false, read_time = :now, version = version + 1, updated_at = :now, updated_by = :person"
    " WHERE person_id = :person AND unread AND NOT archived AND created_at <= :until AND kind = ANY(:kinds)"
)


async def mark_all(tx: Transaction, until: datetime, kinds: Sequence[str]) -> tuple[int, int]:
    """Notes that the caller has read all of these kinds that came until then. How many they were, and how many are unread now."""
    inbox = await inbox_of(tx, tx.who.person_id)
    await tx.session.flush()
    marked: Any = await tx.session.execute(
        _READ, {"person": tx.who.person_id, "now": tx.now, "until": until, "kinds": list(kinds)}
    )
    await tell_changes(tx, inbox)
    return marked.rowcount, inbox.unread_count
