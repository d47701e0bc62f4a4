"""Mailboxes whose mails become leads.

A mail is taken in once: what says so commits together with the lead, or the capture of one that is there. So a process that dies
between reading a mail and keeping it reads it again, and one that has kept it knows it. Mails are known by their ids, since the
numbers of a mailbox begin anew when the server says so.

Nothing is changed in the mailbox: mails stay as unread as they were, and another reader sees all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid5

from sqlalchemy import BigInteger, text
from sqlmodel import Field

from chassis.database import Transaction
from chassis.errors import Invalid, Precondition
from chassis.events.event import Event
from chassis.mapping import change as set_columns
from chassis.owners import Owner
from chassis.records import Record
from leads.captures import came_again, note_capture, take_in
from leads.handling import Handling, hold
from leads.lead import Lead, kept
from leads.mail_reading import Mail
from leads.words import OPEN

JOB = "mail_capture"
"""Reads one mailbox, and comes again."""
_LONGEST_PAUSE = timedelta(hours=6)
_SAME_SENDER = timedelta(days=3650)
_MOST_NOTES = 10_000
LEAD, TOUCH, REPLY, AUTOMATIC, BOUNCE, OWN, EMPTY, SET_ASIDE = (
    "LEAD",
    "TOUCH",
    "REPLY",
    "AUTOMATIC",
    "BOUNCE",
    "OWN",
    "EMPTY",
    "SET_ASIDE",
)
"""What becomes of a mail; only the first makes a lead."""


class MailCapture(Record, table=True):
    """A mailbox. How far it was read moves without the record counting as changed; so does what went wrong."""

    __tablename__ = "mail_captures"  # pyright: ignore[reportAssignmentType]
    record_type: ClassVar[str] = "mail_capture"
    history_hidden: ClassVar[frozenset[str]] = frozenset({
        "sealed_password", "uid_validity", "last_uid", "last_poll_time", "last_success_time", "next_poll_time",
        "failure_count", "failure_reason", "failure_message", "mail_count", "lead_count", "set_aside_count",
    })  # fmt: skip

    name: str = ""
    host: str = ""
    port: int = 993
    security: str = "TLS"
    user_name: str = ""
    sealed_password: bytes = b""
    folder: str = "INBOX"
    address: str = ""
    active: bool = True
    poll_minutes: int = 5
    lead_owner_id: UUID
    lead_team_id: UUID | None = None
    campaign_id: UUID | None = None
    lead_source_key: str = ""
    from_beginning: bool = False
    uid_validity: int = Field(default=0, sa_type=BigInteger)
    last_uid: int = Field(default=0, sa_type=BigInteger)
    last_poll_time: datetime | None = None
    last_success_time: datetime | None = None
    next_poll_time: datetime | None = None
    failure_count: int = 0
    failure_reason: str = ""
    failure_message: str = ""
    mail_count: int = 0
    lead_count: int = 0
    set_aside_count: int = 0


@dataclass(frozen=True, kw_only=True)
class MailCaptureEvent(Event):
    """What every event says of a mailbox."""

    mail_capture_id: UUID
    name: str


class MailCaptureCreated(MailCaptureEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class MailCaptureUpdated(MailCaptureEvent):
    changed_fields: list[str]


class MailCaptureDeleted(MailCaptureEvent):
    pass


@dataclass(frozen=True, kw_only=True)
class MailCaptureFailed(MailCaptureEvent):
    reason: str


@dataclass(frozen=True, kw_only=True)
class MailSetAside(MailCaptureEvent):
    mail_id: str


class NoPassword(Precondition):
    """Nobody has said the password yet, or the one that was known is of another place."""

    reason = "NO_PASSWORD"

    def __init__(self) -> None:
        super().__init__("The mailbox has no password: set it first.")


def check(source: MailCapture) -> None:
    """Raises Invalid for a mailbox without a name, a host or somebody who signs in."""
    for name, field in (("name", "name"), ("host", "host"), ("user_name", "userName")):
        if not getattr(source, name):
            raise Invalid(f"mailCapture.{field}", "is required: give it a value")
    source.folder = source.folder or "INBOX"
    source.security = source.security or "TLS"
    source.port = source.port or (993 if source.security == "TLS" else 143)
    source.poll_minutes = source.poll_minutes or 5


async def set_up(tx: Transaction, source: MailCapture) -> None:
    """A new mailbox, read at once when it is active. Raises Invalid."""
    check(source)
    tx.add(source)
    tx.record(MailCaptureCreated(mail_capture_id=source.id, name=source.name), on=source)
    await tx.session.flush()
    await wake(tx, source)


async def change_source(tx: Transaction, source: MailCapture, values: Mapping[str, Any]) -> None:
    """Changes a mailbox. Another place begins anew; what was taken in stays known. Raises Invalid."""
    moved = any(
        name in values and getattr(source, name) != values[name]
        for name in ("host", "port", "user_name", "folder")
    )
    # A password that was given for another server goes nowhere else.
    elsewhere = any(
        name in values and getattr(source, name) != values[name] for name in ("host", "user_name")
    )
    weaker = values.get("security") == "PLAIN" and source.security != "PLAIN"
    changed = set_columns(source, values)
    check(source)
    if moved:
        source.uid_validity = source.last_uid = 0
    if source.sealed_password and (elsewhere or weaker):
        source.sealed_password = b""
        changed.append(PASSWORD)
    if changed:
        _tell_change(tx, source, changed)
    source.failure_count, source.failure_reason, source.failure_message = 0, "", ""
    await tx.session.flush()
    await wake(tx, source)


PASSWORD = "password_set"
"""What events call the password: nobody is told what it is."""


def _tell_change(tx: Transaction, source: MailCapture, changed: list[str]) -> None:
    told = MailCaptureUpdated(mail_capture_id=source.id, name=source.name, changed_fields=changed)
    tx.record(told, on=source)


async def set_password(tx: Transaction, source: MailCapture, sealed: bytes) -> None:
    """The mailbox is opened by that password from now on."""
    source.sealed_password = sealed
    _tell_change(tx, source, [PASSWORD])
    await tx.session.flush()
    await wake(tx, source)


def take_down(tx: Transaction, source: MailCapture) -> None:
    """The mailbox is read no longer, and its password is forgotten."""
    source.sealed_password = b""
    tx.delete(source)
    tx.record(MailCaptureDeleted(mail_capture_id=source.id, name=source.name), on=source)


async def wake(tx: Transaction, source: MailCapture) -> None:
    """Has the mailbox read soon, if it is active and can be."""
    if source.active and source.sealed_password:
        await tx.enqueue(JOB, {"mail_capture_id": str(source.id)}, key=str(source.id))


_PLACE = text(
    "UPDATE mail_captures SET last_uid = CASE WHEN uid_validity = :validity THEN greatest(last_uid, :uid) ELSE :uid END,"
    " uid_validity = :validity WHERE id = :id"
)
_COUNT = text(
    "UPDATE mail_captures SET mail_count = mail_count + 1, lead_count = lead_count + :made WHERE id = :id"
)
_NOTE = text(
    "INSERT INTO captured_mails (tenant_id, id, mail_capture_id, mail_key, lead_id, outcome, taken_at)"
    " VALUES (:tenant, :id, :source, :key, :lead, :outcome, :at) ON CONFLICT (tenant_id, id) DO NOTHING RETURNING id"
)
_TAKEN = text("UPDATE captured_mails SET lead_id = :lead, outcome = :outcome WHERE id = :id")
_ASIDE = text("UPDATE mail_captures SET set_aside_count = set_aside_count + 1 WHERE id = :id")
_KNOWN = text(
    "SELECT mail_key, lead_id FROM captured_mails WHERE mail_key = ANY(:keys) AND lead_id IS NOT NULL"
    " ORDER BY taken_at DESC, id DESC LIMIT 100"
)


async def place(tx: Transaction, source_id: UUID, validity: int, uid: int) -> None:
    """The mailbox was read up to that message."""
    await tx.session.execute(_PLACE, {"id": source_id, "validity": validity, "uid": uid})


async def take_mail(tx: Transaction, source: MailCapture, mail: Mail, validity: int, uid: int) -> str:
    """Takes in a mail, once, and notes how far the mailbox was read. Answers with what became of it; empty when it was taken in
    before."""
    handling = await hold(tx)
    id = await _noted(tx, source, mail.key, EMPTY)
    if id is None:
        await place(tx, source.id, validity, uid)
        return ""
    outcome, lead = mail.automatic, None
    if not outcome and mail.sender in (source.address, source.user_name.lower()):
        outcome = OWN
    if not outcome:
        answered = await _answered(tx, mail)
        if answered is not None:
            await _keep_answer(tx, handling, answered, _values(source, mail), id)
            outcome, lead = REPLY, answered
        else:
            owner = Owner(source.lead_owner_id, source.lead_team_id)
            before = await tx.find(Lead, id, lock=False)
            lead = await take_in(tx, _values(source, mail), owner, handling, id, within=_SAME_SENDER)
            outcome = LEAD if lead.id == id and before is None else TOUCH
    await tx.session.flush()
    told = {"id": id, "lead": lead.id if lead is not None else None, "outcome": outcome}
    await tx.session.execute(_TAKEN, told)
    await tx.session.execute(_COUNT, {"id": source.id, "made": int(outcome == LEAD)})
    await place(tx, source.id, validity, uid)
    return outcome


async def set_aside(tx: Transaction, source: MailCapture, key: str, validity: int, uid: int) -> None:
    """Notes that a mail could not be taken in. Nobody tries it again; it lies in the mailbox as before."""
    if await _noted(tx, source, key, SET_ASIDE) is not None:
        await tx.session.execute(_ASIDE, {"id": source.id})
        tx.record(MailSetAside(mail_capture_id=source.id, name=source.name, mail_id=key[:300]), on=source)
    await place(tx, source.id, validity, uid)


async def _noted(tx: Transaction, source: MailCapture, key: str, outcome: str) -> UUID | None:
    """The id under which the mail is known from now on; None when it is known already."""
    id = uuid5(source.id, f"mail {key}")
    noted = {
        "tenant": tx.who.tenant_id, "id": id, "source": source.id, "key": key[:300], "lead": None, "outcome": outcome,
        "at": tx.now,
    }  # fmt: skip
    return None if (await tx.session.execute(_NOTE, noted)).first() is None else id


async def _answered(tx: Transaction, mail: Mail) -> Lead | None:
    """The lead, locked, of the nearest mail that this one answers and that has one which is there still; None when there is none.
    Then its sender is as good as anybody who writes first: what it answers may be a mail of our own."""
    if not mail.answers:
        return None
    rows = (await tx.session.execute(_KNOWN, {"keys": list(mail.answers)})).all()
    for row in sorted(rows, key=lambda row: mail.answers.index(row.mail_key)):
        lead = await _present(tx, UUID(str(row.lead_id)))
        if lead is not None:
            return lead
    return None


async def _present(tx: Transaction, id: UUID) -> Lead | None:
    """The lead, locked, or the one into which it was merged."""
    seen: set[UUID] = set()
    lead = await tx.find(Lead, id)
    while lead is not None and lead.duplicate_of_lead_id is not None and lead.id not in seen:
        seen.add(lead.id)
        lead = await tx.find(Lead, lead.duplicate_of_lead_id)
    return lead


async def _keep_answer(
    tx: Transaction, handling: Handling, lead: Lead, values: Mapping[str, Any], capture_id: UUID
) -> None:
    """Notes an answer with its lead. One that is closed stays so; its owner, who is told, decides what comes of it."""
    tidy = await kept(tx, values)
    if lead.status not in OPEN:
        await note_capture(tx, lead, handling, tidy, id=capture_id, repeated=True)
        return
    if lead.email and tidy["email"] != lead.email:  # a colleague has answered, whose number is not the lead's
        tidy |= {"name": "", "email": "", "phone": ""}
    await came_again(tx, lead, handling, tidy, id=capture_id)


def _values(source: MailCapture, mail: Mail) -> dict[str, Any]:
    return {
        "name": mail.name, "email": mail.sender, "phone": mail.phone,
        "source": source.lead_source_key or "EMAIL", "source_detail": source.name[:200],
        "notes": "\n".join(part for part in (mail.subject, mail.text) if part)[:_MOST_NOTES], "campaign_id": source.campaign_id,
    }  # fmt: skip


_SUCCEEDED = text(
    "UPDATE mail_captures SET last_poll_time = :now, last_success_time = :now, next_poll_time = :next, failure_count = 0,"
    " failure_reason = '', failure_message = '' WHERE id = :id"
)
_FAILED = text(
    "UPDATE mail_captures SET last_poll_time = :now, next_poll_time = :next, failure_count = failure_count + 1,"
    " failure_reason = :reason, failure_message = :message WHERE id = :id"
)


async def come_again(tx: Transaction, id: UUID, version: int, reason: str = "", message: str = "") -> None:
    """Notes that the mailbox was read, as its settings were in that version, or why it was not, and when that is tried next: at
    once when they were changed meanwhile."""
    source = await tx.find(MailCapture, id)
    if source is None or not source.active:
        return
    if source.version != version:
        await wake(tx, source)
        return
    pause = timedelta(minutes=source.poll_minutes)
    told: dict[str, Any] = {"id": id, "now": tx.now, "reason": reason, "message": message[:500]}
    if reason:
        pause = min(pause * 2 ** min(source.failure_count + 1, 12), max(_LONGEST_PAUSE, pause))
        await tx.session.execute(_FAILED, {**told, "next": tx.now + pause})
        if source.failure_count == 0:
            tx.record(MailCaptureFailed(mail_capture_id=id, name=source.name, reason=reason), on=source)
    else:
        await tx.session.execute(_SUCCEEDED, {"id": id, "now": tx.now, "next": tx.now + pause})
    await tx.enqueue(JOB, {"mail_capture_id": str(id)}, due_at=tx.now + pause, key=str(id))
