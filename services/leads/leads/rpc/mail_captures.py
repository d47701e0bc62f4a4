"""MailCaptureService, and the job that reads a mailbox."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from google.protobuf.empty_pb2 import Empty
from kehu.leads.v1 import mail_capture_pb2 as pb
from kehu.leads.v1 import mail_capture_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.egress import Network, networks
from chassis.errors import Code, Problem
from chassis.fields import Field, Kind
from chassis.ids import new_id, parse_id
from chassis.imap import Account, Mailbox, opened
from chassis.listing import Listing
from chassis.mapping import Mapping as MessageMapping
from chassis.owners import Owner, owner_for
from chassis.rpc import Call, Face
from chassis.sealed import seal, unseal
from leads.mail_capture import (
    JOB,
    MailCapture,
    NoPassword,
    change_source,
    come_again,
    place,
    set_aside,
    set_up,
    take_down,
    take_mail,
)
from leads.mail_capture import set_password as keep_password
from leads.mail_reading import MOST_BYTES, key_of, read
from leads.rpc.jobs import by_itself
from leads.value_lists import source_key

log = logging.getLogger(__name__)

face = Face("kehu.leads.v1.MailCaptureService")
SOURCE = MessageMapping(pb.MailCapture, skip=["password_set"])
SOURCES = Listing(MailCapture, None, {"name": Field("name", Kind.TEXT, sortable=True)}, "name")
_AT_ONCE = 20
_MOST_A_POLL = 500
_ENOUGH = 8_000_000
"""Bytes after which no more is read over one connection: they are in memory."""
_TO_KEEP = 60.0
"""Seconds that are left of a connection when no more is read over it."""
_LONGEST_POLL = 600.0
"""Seconds after which what is left of a mailbox waits for its next turn."""
_WAITING = ThreadPoolExecutor(max_workers=6, thread_name_prefix="mailbox")
"""Threads that wait for mail servers and for what their names mean. Those that everybody shares would not be enough: a few
servers that say nothing kept every import from beginning."""


def message(row: Any) -> pb.MailCapture:
    """A mailbox; `row` is a row object or a row of the read path."""
    out = SOURCE.message(row)
    out.password_set = bool(row["sealed_password"] if hasattr(row, "keys") else row.sealed_password)
    return out


@face.read("GetMailCapture")
async def get_source(request: service_pb.GetMailCaptureRequest, call: Call) -> pb.MailCapture:
    return message(await SOURCES.get(call, request.id))


@face.read("ListMailCaptures")
async def list_sources(
    request: service_pb.ListMailCapturesRequest, call: Call
) -> service_pb.ListMailCapturesResponse:
    page = await SOURCES.page(call, request)
    return service_pb.ListMailCapturesResponse(
        mail_captures=[message(row) for row in page.rows], next_page_token=page.next_page_token
    )


async def _owner_of_new(request: service_pb.CreateMailCaptureRequest, call: Call) -> Owner:
    return await owner_for(call, request.mail_capture.lead_owner_id, "settings", "mailCapture.leadOwnerId")


@face.write("CreateMailCapture", prepare=_owner_of_new)
async def create_source(
    request: service_pb.CreateMailCaptureRequest, tx: Transaction, owner: Owner
) -> pb.MailCapture:
    values = await _sourced(tx, SOURCE.values(request.mail_capture), "")
    values |= {"lead_owner_id": owner.person_id, "lead_team_id": owner.team_id}
    source = MailCapture(**values, id=new_id())
    await set_up(tx, source)
    return message(source)


async def _owner_of_changed(request: service_pb.UpdateMailCaptureRequest, call: Call) -> Owner | None:
    asked = request.mail_capture.lead_owner_id
    return await owner_for(call, asked, "settings", "mailCapture.leadOwnerId") if asked else None


@face.write("UpdateMailCapture", prepare=_owner_of_changed)
async def update_source(
    request: service_pb.UpdateMailCaptureRequest, tx: Transaction, owner: Owner | None
) -> pb.MailCapture:
    source = await _source(tx, request.mail_capture.id, request.mail_capture.etag, "mailCapture.id")
    values = SOURCE.values(request.mail_capture, request.update_mask)
    values = await _sourced(tx, values, source.lead_source_key)
    if values.pop("lead_owner_id", None) is not None and owner is not None:
        values |= {"lead_owner_id": owner.person_id, "lead_team_id": owner.team_id}
    await change_source(tx, source, values)
    return message(source)


@face.write("DeleteMailCapture")
async def delete_source(request: service_pb.DeleteMailCaptureRequest, tx: Transaction) -> Empty:
    source = await _source(tx, request.id, request.etag)
    take_down(tx, source)
    return Empty()


async def _sealed(request: service_pb.SetMailCapturePasswordRequest, call: Call) -> bytes:
    return seal(call.settings, request.password, _what(call, parse_id(request.id, "id")))


@face.write("SetMailCapturePassword", prepare=_sealed)
async def set_password(
    request: service_pb.SetMailCapturePasswordRequest, tx: Transaction, sealed: bytes
) -> pb.MailCapture:
    source = await _source(tx, request.id, request.etag)
    await keep_password(tx, source, sealed)
    return message(source)


async def _sourced(tx: Transaction, values: dict[str, Any], held: str) -> dict[str, Any]:
    """The columns, with the source of leads as a key. Raises Invalid (VALUE_UNKNOWN, VALUE_RETIRED)."""
    name = "lead_source_key"
    if name not in values:
        return values
    return {**values, name: await source_key(tx, values[name] or "", held, "mailCapture.leadSourceKey")}


async def _source(tx: Transaction, id: str, etag: str, field: str = "id") -> MailCapture:
    source = await tx.get(MailCapture, parse_id(id, field), right="settings")
    tx.check_etag(source, etag)
    return source


def _what(call: Call, id: UUID) -> str:
    """To what a password is bound: it opens nothing at another company or mailbox."""
    return f"mail capture {call.who.tenant_id} {id}"


# ---- reading


async def read_mailbox(payload: Mapping[str, Any], call: Call) -> None:
    """The job: takes in what has come since, and comes again. What goes wrong with the mailbox stands with its settings; what
    goes wrong here is tried again, as with any job."""
    call = by_itself(call)
    id = UUID(payload["mail_capture_id"])
    async with call.database.transaction(call.who, origin="job") as tx:
        source = await tx.find(MailCapture, id, lock=False)
    if source is None or not source.active:
        return
    reason = said = ""
    try:
        await _read(call, source)
    except Exception as error:  # whatever it is, the mailbox is read again
        if isinstance(error, MailboxProblem | NoPassword):
            reason, said = error.reason, error.message
        elif _passes(error):
            raise
        else:
            log.exception("mailbox %s cannot be read", id)
            reason, said = "INTERNAL", "A fault of the service keeps the mailbox from being read."
    async with call.database.transaction(call.who, origin="job") as tx:
        await come_again(tx, id, source.version, reason, said)


class MailboxProblem(Problem):
    """The mailbox, or the way to it, is the reason."""


def _passes(error: Exception) -> bool:
    """Whether what went wrong has nothing to do with what was being done: the database does not answer, or somebody is in the
    way."""
    passing = (Code.UNAVAILABLE, Code.ABORTED, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED)
    return isinstance(error, Problem) and error.code in passing


async def _read(call: Call, source: MailCapture) -> None:
    """Takes the mailbox's new messages in, some at a time over one connection, each in a transaction of its own."""
    if not source.sealed_password:
        raise NoPassword
    validity, uid = source.uid_validity, source.last_uid
    since = None if source.from_beginning else source.created_at.date() - timedelta(days=1)
    taken = 0
    until = time.monotonic() + _LONGEST_POLL
    while taken < _MOST_A_POLL and time.monotonic() < until:
        try:
            account = Account(
                source.host, source.port, source.security, source.user_name,
                unseal(call.settings, source.sealed_password, _what(call, source.id)), source.folder,
            )  # fmt: skip
            allowed = networks(call.settings.egress_networks)
            reading = asyncio.get_running_loop().run_in_executor(
                _WAITING, _some, account, allowed, validity, uid, since
            )
            found = await reading
        except Problem as problem:
            raise MailboxProblem(problem.message, code=Code.UNAVAILABLE, reason=problem.reason) from None
        if found.first and not source.from_beginning:
            # What was there before it was set up is nobody's affair.
            async with call.database.transaction(call.who, origin="job") as tx:
                await place(tx, source.id, found.validity, found.last)
            return
        validity = found.validity
        for number, raw in found.messages:
            if not await _take(call, source, raw, validity, number):
                return
            uid = number
        taken += len(found.messages)
        if not found.more:
            return


async def _take(call: Call, source: MailCapture, raw: bytes, validity: int, number: int) -> bool:
    """Takes one mail in, or sets it aside when that cannot be done. False when the mailbox is another one by now."""
    key = key_of(raw)
    try:
        mail = await asyncio.to_thread(read, raw)
        key = mail.key
        async with call.database.transaction(call.who, origin="job") as tx:
            now = await _still(tx, source)
            if now is not None:
                await take_mail(tx, now, mail, validity, number)
            return now is not None
    except Exception as error:  # whatever is wrong with one mail, those behind it come in
        if _passes(error):
            raise
        log.exception("mail %s of mailbox %s, number %d, is set aside", key, source.id, number)
    async with call.database.transaction(call.who, origin="job") as tx:
        now = await _still(tx, source)
        if now is not None:
            await set_aside(tx, now, key, validity, number)
        return now is not None


async def _still(tx: Transaction, source: MailCapture) -> MailCapture | None:
    """The mailbox, locked, if it is the one that is being read and is to be."""
    now = await tx.find(MailCapture, source.id)
    if now is None or not now.active or (now.host, now.user_name, now.folder) != (
        source.host, source.user_name, source.folder
    ):  # fmt: skip
        return None
    return now


class _Found:
    """What stands in a mailbox behind some message."""

    def __init__(
        self, first: bool, validity: int, last: int, messages: Sequence[tuple[int, bytes]], more: bool
    ) -> None:
        self.first = first
        """Whether nobody has looked before."""
        self.validity = validity
        self.last = last
        self.messages = messages
        self.more = more


def _some(
    account: Account, allowed: Sequence[Network], validity: int, uid: int, since: date | None
) -> _Found:
    with opened(account, allowed) as mailbox:
        if validity == 0 and since is not None:
            return _Found(True, mailbox.uid_validity, max(mailbox.after(0), default=0), (), False)
        numbers = _behind(mailbox, validity, uid, since)
        messages: list[tuple[int, bytes]] = []
        for number in numbers[:_AT_ONCE]:
            messages.append((number, mailbox.message(number, MOST_BYTES)))
            # What a slow server has sent is kept before the connection ends.
            if sum(len(raw) for _, raw in messages) > _ENOUGH or mailbox.seconds_left < _TO_KEEP:
                break
        return _Found(False, mailbox.uid_validity, 0, messages, len(numbers) > len(messages))


def _behind(mailbox: Mailbox, validity: int, uid: int, since: date | None) -> list[int]:
    if mailbox.uid_validity == validity:
        return mailbox.after(uid)
    # The server has counted anew: all that could be new is looked at, and what was taken in is known by its id.
    return mailbox.after(0, since)


JOBS = {JOB: read_mailbox}
