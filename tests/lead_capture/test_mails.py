"""Mails of a real IMAP server become leads: each once, whatever dies in between."""

import asyncio
import imaplib
import shutil
import smtplib
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from aiosmtpd.controller import Controller
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from kehu.history.v1 import history_pb2
from kehu.imports.v1 import imports_pb2
from kehu.leads.v1 import lead_pb2, lead_service_pb2, mail_capture_pb2, mail_capture_service_pb2
from sqlalchemy import text

from chassis.errors import Code, Problem
from chassis.ids import new_id
from chassis.principal import Principal, Reach, Rights
from chassis.testing import DatabaseUrls, Harness, Keys, eventually, refused, running_service, somebody
from leads.rpc import mail_captures
from leads.service import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "a canary of a password"
USER = "box"
METHOD = "kehu.leads.v1.MailCaptureService/"


@dataclass
class Post:
    """A mail server on this machine."""

    port: int

    def client(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.port)
        client.login(USER, PASSWORD)
        return client

    def folder(self, name: str) -> str:
        client = self.client()
        client.create(name)
        client.logout()
        return name

    def again(self, name: str) -> None:
        """The folder is thrown away and made anew: its messages have other numbers, under another validity."""
        client = self.client()
        client.delete(name)
        client.create(name)
        client.logout()

    def deliver(self, folder: str, *mails: bytes) -> None:
        client = self.client()
        for one in mails:
            kind, said = client.append(folder, "", "", one)
            assert kind == "OK", said
        client.logout()

    def unseen(self, folder: str) -> int:
        client = self.client()
        client.select(folder, readonly=True)
        found = client.uid("SEARCH", "UNSEEN")[1][0]
        client.logout()
        return len(found.split())


@dataclass
class Delivery:
    """What a mail server does with a mail that it has taken: it notes whence it came, and puts it into a folder."""

    post: Post
    folder: str

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        sender = envelope.mail_from.strip("<>")  # of nobody it is given with its brackets
        noted = (
            f"Return-Path: <{sender}>\r\nReceived: from {session.host_name} by mx.example; {formatdate()}\r\n"
        )
        await asyncio.to_thread(self.post.deliver, self.folder, noted.encode() + envelope.content)
        return "250 Kept"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    port = _free_port()
    program = shutil.which("pymap", path=str(Path(sys.executable).parent))
    assert program, "the development dependency pymap is missing"
    command = [program, "--host", "127.0.0.1", "--port", str(port), "--no-tls", "dict", "--demo-data"]
    command += ["--demo-user", USER, "--demo-password", PASSWORD]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            made = Post(port)
            _until_it_answers(made)
            yield made
        finally:
            server.terminate()


def _until_it_answers(post: Post) -> None:
    for _ in range(600):
        try:
            post.client().logout()
        except OSError:
            asyncio.run(asyncio.sleep(0.05))
        else:
            return
    raise TimeoutError("the mail server does not begin to listen")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def leads(
    service_database: Callable[[str], DatabaseUrls], nats_url: str, keys: Keys
) -> AsyncGenerator[Harness]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEHU_SECRET_KEYS", "a key of this run of tests")
        patch.setenv("KEHU_EGRESS_NETWORKS", "127.0.0.0/8")
        async with running_service(SERVICE, service_database("leads"), nats_url, keys) as harness:
            yield harness


def mail(body: str = "Hello", id: str = "", **headers: str) -> bytes:
    made = EmailMessage()
    known = {
        "From": "Zhang San <zhang@example.com>",
        "Subject": "Hi",
        "Message_ID": id or f"<{new_id()}@example.com>",
    }
    for name, value in {**known, **headers}.items():
        made[name.replace("_", "-")] = value
    made.set_content(body)
    return made.as_bytes()


async def set_up(
    leads: Harness, who: Principal, post: Post, folder: str, **fields: Any
) -> mail_capture_pb2.MailCapture:
    """A mailbox that is read, and has been once."""
    values: dict[str, Any] = {
        "name": "Sales box", "host": "127.0.0.1", "port": post.port, "security": mail_capture_pb2.MAIL_SECURITY_PLAIN,
        "user_name": USER, "folder": folder, "active": True, "from_beginning": True, "poll_minutes": 60, **fields,
    }  # fmt: skip
    request = mail_capture_service_pb2.CreateMailCaptureRequest(
        mail_capture=mail_capture_pb2.MailCapture(**values)
    )
    made = await leads.ask(who, METHOD + "CreateMailCapture", request, mail_capture_pb2.MailCapture)
    await say_password(leads, who, made.id)
    return made


async def say_password(leads: Harness, who: Principal, id: str, password: str = PASSWORD) -> Any:
    request = mail_capture_service_pb2.SetMailCapturePasswordRequest(id=id, password=password)
    return await leads.ask(who, METHOD + "SetMailCapturePassword", request, mail_capture_pb2.MailCapture)


async def now(leads: Harness, who: Principal, id: str) -> mail_capture_pb2.MailCapture:
    request = mail_capture_service_pb2.GetMailCaptureRequest(id=id)
    return await leads.ask(who, METHOD + "GetMailCapture", request, mail_capture_pb2.MailCapture)


async def read(leads: Harness, who: Principal, id: str) -> mail_capture_pb2.MailCapture:
    """Reads the mailbox as the job does; what only starves on a busy machine is tried again, as the job does."""
    after = mail_capture_pb2.MailCapture()
    for _ in range(5):
        await mail_captures.read_mailbox({"mail_capture_id": id}, leads.running.call(who))
        after = await now(leads, who, id)
        if after.failure_reason != "MAILBOX_BROKEN":
            break
    return after


async def leads_of(leads: Harness, who: Principal) -> list[lead_pb2.Lead]:
    request = lead_service_pb2.ListLeadsRequest(page_size=200, order_by="createTime")
    method = "kehu.leads.v1.LeadService/ListLeads"
    return list((await leads.ask(who, method, request, lead_service_pb2.ListLeadsResponse)).leads)


async def captures_of(leads: Harness, who: Principal, id: str) -> list[lead_pb2.LeadCapture]:
    request = lead_service_pb2.ListLeadCapturesRequest(lead_id=id)
    method = "kehu.leads.v1.LeadService/ListLeadCaptures"
    return list((await leads.ask(who, method, request, lead_service_pb2.ListLeadCapturesResponse)).captures)


async def outcomes(leads: Harness, who: Principal) -> list[str]:
    rows = await leads.running.database.read(who, "SELECT outcome FROM captured_mails ORDER BY taken_at, id")
    return [row["outcome"] for row in rows]


async def changed(leads: Harness, who: Principal, sql: str, **values: Any) -> None:
    """Changes rows behind the service's back: what others, or only time, would change."""
    async with leads.running.database.transaction(who) as tx:
        await tx.session.execute(text(sql), values)


async def test_a_mail_becomes_a_lead(leads: Harness, post: Post) -> None:
    boss = somebody("mails")
    folder = post.folder("mails")
    post.deliver(
        folder, mail("请联系我 13800138000", Subject="询价", From="=?gbk?B?1cXI/Q==?= <Zhang@Example.com>")
    )
    with pytest.raises(Problem) as unknown:
        await set_up(leads, boss, post, folder, lead_source_key="nowhere")
    assert unknown.value.reason == "VALUE_UNKNOWN"
    source = await set_up(leads, boss, post, folder, lead_source_key="展会")
    assert source.lead_source_key == "EXHIBITION"

    async def there() -> bool:
        return bool(await leads_of(leads, boss))

    await eventually(there, 60)  # by its job, and by nobody's call
    (lead,) = await leads_of(leads, boss)
    assert (lead.name, lead.email, lead.phone) == ("张三", "zhang@example.com", "+8613800138000")
    assert (lead.source, lead.source_detail, lead.owner_id) == (
        lead_pb2.LEAD_SOURCE_EXHIBITION, "Sales box", str(boss.person_id),
    )  # fmt: skip
    assert lead.notes == "询价\n请联系我 13800138000"
    after = await read(leads, boss, source.id)
    assert (after.mail_count, after.lead_count, after.failure_reason) == (1, 1, "")
    assert after.HasField("last_success_time") and after.next_poll_time.seconds > after.last_poll_time.seconds
    assert len(await leads_of(leads, boss)) == 1 and post.unseen(folder) == 1


def _sent(port: int, *mails: tuple[str, bytes]) -> None:
    """Sends them as a mail program does, each from the address of its envelope."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        for sender, one in mails:
            assert client.sendmail(sender, ["sales@kehu.example"], one.replace(b"\n", b"\r\n")) == {}


async def test_a_mail_that_is_sent_becomes_a_lead(leads: Harness, post: Post) -> None:
    boss = somebody("sent")
    folder = post.folder("sent")
    written = "您好，请发报价。\n.\n.. 电话 13900139000\n" + "很长的一行 " * 200
    server = Controller(Delivery(post, folder), hostname="127.0.0.1", port=_free_port(), ready_timeout=60)
    server.start()
    try:
        await asyncio.to_thread(
            _sent, server.port,
            ("zhao@example.com", mail(written, Subject="询价：" + "水泵" * 40, From="赵敏 <zhao@example.com>")),
            # Whoever tells that a mail did not arrive gives no address to answer to.
            ("", mail("Your mail could not be delivered", From="Post Office <post@mx.example>")),
        )  # fmt: skip
        source = await set_up(leads, boss, post, folder)

        async def taken_in() -> bool:
            return (await now(leads, boss, source.id)).mail_count == 2

        await eventually(taken_in, 60)  # by its job
    finally:
        server.stop()
    (lead,) = await leads_of(leads, boss)
    assert (lead.name, lead.email, lead.phone) == ("赵敏", "zhao@example.com", "+8613900139000")
    assert lead.notes == "询价：" + "水泵" * 40 + "\n" + written.strip()
    assert sorted(await outcomes(leads, boss)) == ["BOUNCE", "LEAD"]


async def test_what_makes_no_lead(leads: Harness, post: Post) -> None:
    boss = somebody("no-leads")
    folder = post.folder("noleads")
    source = await set_up(leads, boss, post, folder, address="sales@kehu.example")
    first = mail("one", id="<first@example.com>")
    post.deliver(
        folder, first,
        mail("again", From="ZHANG <zhang@example.com>"),
        mail("answer", From="colleague@example.com", In_Reply_To="<first@example.com>"),
        mail("away", From="li@example.com", Auto_Submitted="auto-replied"),
        mail("failed", From="MAILER-DAEMON@mx.example", Return_Path="<>"),
        mail("from us", From="Sales <sales@kehu.example>"),
        first,
        mail("other thread", From="wu@example.com", In_Reply_To="<nobody@knows.example>"),
    )  # fmt: skip
    after = await read(leads, boss, source.id)
    assert sorted(one.email for one in await leads_of(leads, boss)) == ["wu@example.com", "zhang@example.com"]
    assert sorted(await outcomes(leads, boss)) == sorted(
        ["LEAD", "TOUCH", "REPLY", "AUTOMATIC", "BOUNCE", "OWN", "LEAD"]
    )
    assert (after.mail_count, after.lead_count) == (7, 2)
    lead = next(one for one in await leads_of(leads, boss) if one.email == "zhang@example.com")
    assert [one.message.splitlines()[-1] for one in await captures_of(leads, boss, lead.id)][::-1] == [
        "one", "again", "answer",
    ]  # fmt: skip


async def test_a_mail_that_cannot_be_taken_in_keeps_none_from_coming(
    leads: Harness, post: Post, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    boss = somebody("aside")
    folder = post.folder("aside")
    source = await set_up(leads, boss, post, folder)
    await read(leads, boss, source.id)
    nul = mail("\x00 in the text", id="<n\x01ul@example.com>", From="nul@example.com")
    nul = nul.replace(b"n\x01ul@", b"n\x00ul@").replace(b"Subject: Hi", b"Subject: =?utf-8?q?H=00i?=")
    post.deliver(folder, nul, mail("after", From="after@example.com", In_Reply_To="<a\x01b@example.com>"))
    await read(leads, boss, source.id)
    assert [one.email for one in await leads_of(leads, boss)] == ["nul@example.com", "after@example.com"]
    whole = mail_captures.take_mail

    async def fails(tx: Any, source: Any, mail: Any, *more: Any) -> str:
        done = await whole(tx, source, mail, *more)
        if mail.sender == "odd@example.com":
            raise RuntimeError("nobody has thought of this")
        return done

    monkeypatch.setattr(mail_captures, "take_mail", fails)
    odd = mail("odd", id="<odd@example.com>", From="odd@example.com")
    post.deliver(folder, odd, mail("last", From="last@example.com"), odd)
    after = await read(leads, boss, source.id)
    assert [one.email for one in await leads_of(leads, boss)][2:] == ["last@example.com"]
    assert (after.mail_count, after.lead_count, after.set_aside_count, after.failure_reason) == (3, 3, 1, "")
    assert (await outcomes(leads, boss)).count("SET_ASIDE") == 1 and "<odd@example.com>" in caplog.text
    rows = await leads.running.database.read(
        boss,
        "SELECT convert_from(data, 'UTF8') AS data FROM outbox WHERE subject LIKE '%mail_capture.mail_set_aside'",
    )
    assert len(rows) == 1 and "<odd@example.com>" in rows[0]["data"]
    # It is not tried again when the server counts anew.
    monkeypatch.undo()
    post.again(folder)
    post.deliver(folder, odd)
    assert (await read(leads, boss, source.id)).set_aside_count == 1
    assert len(await leads_of(leads, boss)) == 3


async def test_a_fault_of_ours_does_not_end_the_reading_of_a_mailbox(
    leads: Harness, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss = somebody("fault")
    source = await set_up(leads, boss, post, "INBOX", from_beginning=False)
    await read(leads, boss, source.id)

    def fails(*arguments: Any) -> None:
        raise RuntimeError("nobody has thought of this")

    monkeypatch.setattr(mail_captures, "_some", fails)
    after = await read(leads, boss, source.id)
    assert after.failure_reason == "INTERNAL" and "thought" not in after.failure_message
    assert after.next_poll_time.seconds > after.last_poll_time.seconds
    monkeypatch.undo()
    assert (await read(leads, boss, source.id)).failure_reason == ""


async def test_who_answers_a_mail_of_our_own_is_a_lead(leads: Harness, post: Post) -> None:
    boss = somebody("own")
    folder = post.folder("own")
    source = await set_up(leads, boss, post, folder, address="sales@kehu.example")
    post.deliver(
        folder,
        mail("our offer", id="<offer@kehu.example>", From="sales@kehu.example"),
        mail("Yes!", id="<yes@example.com>", From="zhang@example.com", In_Reply_To="<offer@kehu.example>"),
        mail(
            "And?",
            From="zhang@example.com",
            In_Reply_To="<yes@example.com>",
            References="<offer@kehu.example>",
        ),
    )
    await read(leads, boss, source.id)
    (lead,) = await leads_of(leads, boss)
    assert lead.email == "zhang@example.com" and lead.notes == "Hi\nYes!\nHi\nAnd?"
    assert sorted(await outcomes(leads, boss)) == ["LEAD", "OWN", "REPLY"]


@pytest.mark.parametrize("status", ["DISQUALIFIED", "CONVERTED"])
async def test_an_answer_of_a_closed_lead_is_kept_and_told(leads: Harness, post: Post, status: str) -> None:
    boss = somebody(f"closed-{status.lower()}")
    folder = post.folder(f"closed{status}")
    source = await set_up(leads, boss, post, folder)
    post.deliver(folder, mail("one", id="<one@example.com>"))
    await read(leads, boss, source.id)
    (lead,) = await leads_of(leads, boss)
    await changed(
        leads, boss, "UPDATE leads SET status = :status, customer_id = :customer WHERE id = :id", id=UUID(lead.id),
        status=status, customer=new_id() if status == "CONVERTED" else None,
    )  # fmt: skip
    post.deliver(
        folder, mail("I want it after all, ring 13800138000", id="<two@x.example>", In_Reply_To="<one@example.com>"),
        mail("Hello?", In_Reply_To="<two@x.example>"),
    )  # fmt: skip
    await read(leads, boss, source.id)
    (after,) = await leads_of(leads, boss)
    assert (after.status, after.notes, after.phone) == (
        lead_pb2.LeadStatus.Value(f"LEAD_STATUS_{status}"), lead.notes, "",
    )  # fmt: skip
    messages = [one.message for one in await captures_of(leads, boss, lead.id)][::-1]
    assert messages == ["Hi\none", "Hi\nI want it after all, ring 13800138000", "Hi\nHello?"]
    rows = await leads.running.database.read(
        boss,
        "SELECT convert_from(data, 'UTF8')::jsonb AS data FROM outbox WHERE subject LIKE '%lead.captured' ORDER BY seq",
    )
    assert [row["data"].get("repeated", False) for row in rows] == [False, True, True]
    assert {row["data"]["ownerId"] for row in rows} == {str(boss.person_id)}
    known = await leads.running.database.read(boss, "SELECT DISTINCT lead_id FROM captured_mails")
    assert [str(row["lead_id"]) for row in known] == [lead.id]


async def test_what_comes_in_pushes_nothing_out_and_wakes_the_lead(leads: Harness, post: Post) -> None:
    boss = somebody("notes")
    folder = post.folder("notes")
    source = await set_up(leads, boss, post, folder)
    post.deliver(folder, mail("first " + "一" * 7_900))
    await read(leads, boss, source.id)
    (lead,) = await leads_of(leads, boss)
    ask = lead_service_pb2.ContactLeadRequest(id=lead.id, note="wants ten by May")
    contacted = await leads.ask(boss, "kehu.leads.v1.LeadService/ContactLead", ask, lead_pb2.Lead)
    assert contacted.notes.startswith("Hi\nfirst") and contacted.notes.endswith("\nwants ten by May")
    long_ago = "UPDATE leads SET touch_time = now() - interval '9 days', reclaim_time = now() WHERE id = :id"
    await changed(leads, boss, long_ago, id=UUID(lead.id))
    post.deliver(folder, *(mail(f"{number} " + "x" * 7_000) for number in range(3)))
    await read(leads, boss, source.id)
    (after,) = await leads_of(leads, boss)
    assert after.notes.startswith(contacted.notes) and len(after.notes) <= 8_000
    assert after.touch_time.seconds > contacted.touch_time.seconds - 60 and not after.HasField("reclaim_time")
    kept = [one.message for one in await captures_of(leads, boss, lead.id)]
    assert [len(message) for message in kept] == [3 + 2 + 7_000] * 3 + [len("Hi\nfirst ") + 7_900]
    ask.note = "x" * 5_000
    await refused(
        Code.INVALID_ARGUMENT, "NOTES_FULL",
        leads.ask(boss, "kehu.leads.v1.LeadService/ContactLead", ask, lead_pb2.Lead),
    )  # fmt: skip


async def test_the_number_of_a_colleague_who_answers_is_not_the_leads(leads: Harness, post: Post) -> None:
    boss = somebody("colleague")
    folder = post.folder("colleague")
    source = await set_up(leads, boss, post, folder)
    post.deliver(
        folder, mail("one", id="<one@example.com>"),
        mail("We ring you. 13900139000", From="wang@kehu.example", In_Reply_To="<one@example.com>"),
        mail("Mine is 13800138000", In_Reply_To="<one@example.com>"),
    )  # fmt: skip
    await read(leads, boss, source.id)
    (lead,) = await leads_of(leads, boss)
    assert (lead.phone, lead.email) == ("+8613800138000", "zhang@example.com")


async def test_a_mail_is_taken_in_once_whatever_dies(
    leads: Harness, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss = somebody("dying")
    folder = post.folder("dying")
    source = await set_up(leads, boss, post, folder)
    await read(leads, boss, source.id)
    whole = mail_captures.take_mail

    async def dies(*arguments: Any) -> str:
        """Everything is done, and the process ends before it is kept."""
        await whole(*arguments)
        raise asyncio.CancelledError

    async def ends(*arguments: Any) -> None:
        raise asyncio.CancelledError

    for number in range(3):
        post.deliver(folder, mail(f"mail {number}", From=f"p{number}@example.com"))
        monkeypatch.setattr(mail_captures, "take_mail", dies)
        with pytest.raises(asyncio.CancelledError):
            await read(leads, boss, source.id)
        assert len(await leads_of(leads, boss)) == number
        monkeypatch.setattr(mail_captures, "take_mail", whole)
        # It has been kept, and the process ends before the rest.
        monkeypatch.setattr(mail_captures, "come_again", ends)
        with pytest.raises(asyncio.CancelledError):
            await read(leads, boss, source.id)
        monkeypatch.undo()
        await read(leads, boss, source.id)
        assert len(await leads_of(leads, boss)) == number + 1
    # The server counts anew, and has everything still.
    post.again(folder)
    post.deliver(folder, *(mail("new", id=f"<n{n}@example.com>", From=f"n{n}@example.com") for n in range(3)))
    await read(leads, boss, source.id)
    again = [mail("new", id=f"<n{n}@example.com>", From=f"n{n}@example.com") for n in range(4)]
    post.again(folder)
    post.deliver(folder, *again)
    await asyncio.gather(*(read(leads, boss, source.id) for _ in range(4)))
    assert len(await leads_of(leads, boss)) == 3 + 4
    assert (await now(leads, boss, source.id)).lead_count == 7


async def test_what_was_there_before_is_left_unless_it_is_wanted(leads: Harness, post: Post) -> None:
    boss = somebody("before")
    folder = post.folder("before")
    post.deliver(folder, mail("old", From="old@example.com"))
    source = await set_up(leads, boss, post, folder, from_beginning=False)
    await read(leads, boss, source.id)
    post.deliver(folder, mail("new", From="new@example.com"))
    await read(leads, boss, source.id)
    assert [one.email for one in await leads_of(leads, boss)] == ["new@example.com"]


async def test_what_is_wrong_with_a_mailbox_stands_with_it(leads: Harness, post: Post, caplog: Any) -> None:
    boss = somebody("wrong")
    source = await set_up(leads, boss, post, "INBOX", from_beginning=False)
    await say_password(leads, boss, source.id, "wrong " + PASSWORD)
    failed = await read(leads, boss, source.id)
    assert failed.failure_reason == "MAILBOX_REFUSED" and failed.failure_count >= 1
    pause = failed.next_poll_time.seconds - failed.last_poll_time.seconds
    again = await read(leads, boss, source.id)
    assert again.failure_count > failed.failure_count
    assert again.next_poll_time.seconds - again.last_poll_time.seconds > pause
    for host, port, reason in (
        ("127.0.0.1", 1, "HOST_UNREACHABLE"), ("nobody.invalid", 993, "HOST_NOT_FOUND"), ("10.0.0.1", 993, "ADDRESS_REFUSED"),
        ("169.254.169.254", 80, "ADDRESS_REFUSED"), ("::1", post.port, "ADDRESS_REFUSED"),
    ):  # fmt: skip
        values = mail_capture_pb2.MailCapture(id=source.id, host=host, port=port)
        request = mail_capture_service_pb2.UpdateMailCaptureRequest(mail_capture=values)
        changed = await leads.ask(boss, METHOD + "UpdateMailCapture", request, mail_capture_pb2.MailCapture)
        # A password that was given for another server goes nowhere else.
        assert changed.password_set == (host == "127.0.0.1")
        await say_password(leads, boss, source.id)
        assert (await read(leads, boss, source.id)).failure_reason == reason, host
    rows = await leads.running.database.read(
        boss, "SELECT count(*) AS told FROM outbox WHERE subject LIKE '%mail_capture.failed'"
    )
    assert rows[0]["told"] >= 1
    assert PASSWORD not in caplog.text


async def test_a_password_is_nowhere(leads: Harness, post: Post) -> None:
    boss = somebody("nowhere")
    source = await set_up(leads, boss, post, "INBOX", from_beginning=False)
    answer = await read(leads, boss, source.id)
    assert answer.password_set and PASSWORD not in str(answer)
    for table in ("mail_captures", "history", "outbox", "idempotency", "jobs", "captured_mails"):
        rows = await leads.running.database.read(boss, f"SELECT t::text AS row FROM {table} t")
        said = "\n".join(row["row"] for row in rows)
        assert PASSWORD not in said and PASSWORD.encode().hex() not in said, table
    request = history_pb2.ListChangesRequest(record_type="mail_capture", record_id=source.id)
    changes = await leads.ask(
        boss, "kehu.leads.v1.HistoryService/ListChanges", request, history_pb2.ListChangesResponse
    )
    assert changes.changes and "sealed" not in str(changes).lower()
    # What was copied to another mailbox opens nothing there.
    other = await set_up(leads, boss, post, "INBOX", from_beginning=False)
    async with leads.running.database.transaction(boss) as tx:
        await tx.session.execute(
            text(
                "UPDATE mail_captures SET sealed_password ="
                " (SELECT sealed_password FROM mail_captures WHERE id = :a) WHERE id = :b"
            ),
            {"a": UUID(source.id), "b": UUID(other.id)},
        )  # fmt: skip
    assert (await read(leads, boss, other.id)).failure_reason == "NO_SECRET_KEY"
    drop = mail_capture_service_pb2.DeleteMailCaptureRequest(id=source.id)
    await leads.ask(boss, METHOD + "DeleteMailCapture", drop, Empty)
    rows = await leads.running.database.read(
        boss,
        "SELECT octet_length(sealed_password) AS bytes FROM mail_captures WHERE id = $1::uuid",
        source.id,
    )
    assert rows[0]["bytes"] == 0


async def test_settings_that_change_while_a_mailbox_is_read_count_at_once(
    leads: Harness, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss = somebody("meanwhile")
    source = await set_up(leads, boss, post, "INBOX", from_beginning=False, active=False)
    values = mail_capture_pb2.MailCapture(id=source.id, active=True)
    request = mail_capture_service_pb2.UpdateMailCaptureRequest(mail_capture=values)

    async def read_slowly(call: Any, row: Any) -> None:
        monkeypatch.undo()
        await say_password(leads, boss, source.id)

    await leads.ask(boss, METHOD + "UpdateMailCapture", request, mail_capture_pb2.MailCapture)
    await read(leads, boss, source.id)
    monkeypatch.setattr(mail_captures, "_read", read_slowly)
    before = (await now(leads, boss, source.id)).last_poll_time
    await read(leads, boss, source.id)
    due = "SELECT count(*) AS due FROM jobs WHERE kind = 'mail_capture' AND key = $1 AND due_at > now()"

    async def again() -> bool:
        """By its job, within the hour."""
        polled = (await now(leads, boss, source.id)).last_poll_time
        rows = await leads.running.database.read(boss, due, source.id)
        return polled.ToNanoseconds() > before.ToNanoseconds() and rows[0]["due"] == 1

    await eventually(again, 60)


async def test_mail_servers_that_say_nothing_keep_no_import_waiting(leads: Harness, post: Post) -> None:
    boss = somebody("silent")
    callers: list[asyncio.StreamWriter] = []

    async def listen(_: asyncio.StreamReader, caller: asyncio.StreamWriter) -> None:
        callers.append(caller)

    async def waited_for() -> bool:
        return len(callers) >= 6

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        for number in range(9):
            await set_up(
                leads,
                boss,
                post,
                f"silent {number}",
                port=silent.sockets[0].getsockname()[1],
                from_beginning=False,
            )
        await eventually(waited_for, 30)
        imports = "kehu.leads.v1.ImportService/"
        file = imports_pb2.CreateImportRequest(
            record_type="lead", filename="leads.csv", content="name,email\n张三,zhang@example.com\n".encode()
        )
        made = await leads.ask(boss, imports + "CreateImport", file, imports_pb2.Import)
        start = imports_pb2.StartImportRequest(id=made.id)
        await leads.ask(boss, imports + "StartImport", start, imports_pb2.Import)

        async def taken_in() -> bool:
            return bool(await leads_of(leads, boss))

        await eventually(taken_in, 15)
    finally:
        silent.close()
        for caller in callers:
            caller.close()


async def test_who_may_not(leads: Harness, post: Post) -> None:
    boss = somebody("mail-rights")
    source = await set_up(leads, boss, post, "INBOX", from_beginning=False, active=False)
    clerk = somebody("mail-rights", rights={"leads": Rights(Reach.ALL, Reach.ALL)})
    rival = somebody("rival-of-mail-rights")
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", now(leads, clerk, source.id))
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", say_password(leads, clerk, source.id))
    await refused(Code.NOT_FOUND, "NOT_FOUND", now(leads, rival, source.id))
    await refused(Code.NOT_FOUND, "NOT_FOUND", say_password(leads, rival, source.id))
    reader = somebody("mail-rights", rights={"settings": Rights(Reach.ALL, Reach.NONE)})
    await refused(Code.PERMISSION_DENIED, "RIGHT_MISSING", say_password(leads, reader, source.id))
    for bad in ("a\r\nDELETE INBOX", "a\nb"):
        await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", say_password(leads, boss, source.id, bad))
        calls = (set_up(leads, boss, post, bad), set_up(leads, boss, post, "INBOX", user_name=bad))
        for call in calls:
            await refused(Code.INVALID_ARGUMENT, "INVALID_FIELD", call)
    await refused(
        Code.INVALID_ARGUMENT, "INVALID_FIELD", set_up(leads, boss, post, "INBOX", host="http://x/y")
    )
    request = mail_capture_service_pb2.UpdateMailCaptureRequest(
        mail_capture=mail_capture_pb2.MailCapture(id=source.id, failure_count=3), update_mask=FieldMask(paths=["failure_count"])
    )  # fmt: skip
    await refused(
        Code.INVALID_ARGUMENT, "FIELD_NOT_WRITABLE",
        leads.ask(boss, METHOD + "UpdateMailCapture", request, mail_capture_pb2.MailCapture),
    )  # fmt: skip
