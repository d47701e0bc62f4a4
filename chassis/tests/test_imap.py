"""Mail servers of anybody: what they send too much of, and too slowly, ends the connection and nothing else."""

import socketserver
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from chassis import imap
from chassis.errors import Unavailable
from chassis.imap import PLAIN, Account, Mailbox, opened

Write = Callable[[bytes], Any]
Answers = Callable[[bytes, Write], bool]
"""What a server does about a command beyond what is always done; whether it has answered it."""


@contextmanager
def server(answers: Answers) -> Generator[Account]:
    """A server on this machine that lets everybody in."""

    class Caller(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                self.wfile.write(b"* OK IMAP4rev1\r\n")
                for line in self.rfile:
                    tag, _, command = line.strip().partition(b" ")
                    if not answers(command, self.wfile.write):
                        self._usual(command)
                    self.wfile.write(tag + b" OK done\r\n")
            except OSError:
                pass

        def _usual(self, command: bytes) -> None:
            if command == b"CAPABILITY":
                self.wfile.write(b"* CAPABILITY IMAP4rev1\r\n")
            if command.startswith(b"EXAMINE"):
                self.wfile.write(b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n")
            if command.startswith(b"UID SEARCH"):
                self.wfile.write(b"* SEARCH 1\r\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Caller) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        try:
            yield Account("127.0.0.1", running.server_address[1], PLAIN, "box", "secret")
        finally:
            running.shutdown()


def asked(account: Account, ask: Callable[[Mailbox], Any]) -> str:
    """Why it cannot be asked."""
    with pytest.raises(Unavailable) as refused, opened(account, [ip_network("127.0.0.0/8")]) as mailbox:
        ask(mailbox)
    assert "secret" not in refused.value.message
    return refused.value.reason


def literal(size: int, sent: int) -> Answers:
    def answer(command: bytes, write: Write) -> bool:
        if command.startswith(b"UID FETCH"):
            write(b"* 1 FETCH (BODY[] {%d}\r\n" % size)
            for _ in range(sent // 10_000):
                write(b"x" * 10_000)
            write(b")\r\n")
        return command.startswith(b"UID FETCH")

    return answer


def test_a_mail_comes_as_it_is() -> None:
    with server(literal(30_000, 30_000)) as account, opened(account, [ip_network("127.0.0.0/8")]) as mailbox:
        assert mailbox.uid_validity == 7 and mailbox.after(0) == [1]
        assert [len(mailbox.message(1, 2_000_000)) for _ in range(2)] == [30_000] * 2


def test_a_literal_that_is_too_long_is_not_read() -> None:
    with server(literal(3_000_000_000, 100_000)) as account:
        assert asked(account, lambda mailbox: mailbox.message(1, 2_000_000)) == "MAILBOX_BROKEN"


def test_many_answers_that_nobody_asked_for_are_not_kept() -> None:
    written = 0

    def floods(command: bytes, write: Write) -> bool:
        nonlocal written
        if command.startswith(b"UID FETCH"):
            for _ in range(400):
                write(b"* 1 FETCH (BODY[] {100000}\r\n" + b"x" * 100_000 + b")\r\n")
                written += 100_000
        return False

    with server(floods) as account:
        assert asked(account, lambda mailbox: mailbox.message(1, 2_000_000)) == "MAILBOX_BROKEN"
    assert written < 30_000_000


def test_who_sends_a_byte_now_and_then_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "_WHOLE", 1.0)
    ended = threading.Event()

    def dribbles(command: bytes, write: Write) -> bool:
        if command.startswith(b"UID FETCH"):
            write(b"* 1 FETCH (BODY[] {100000}\r\n")
            while not ended.wait(0.05):
                write(b"x")
        return False

    with server(dribbles) as account:
        begun = time.monotonic()
        try:
            assert asked(account, lambda mailbox: mailbox.message(1, 2_000_000)) == "MAILBOX_BROKEN"
        finally:
            ended.set()
        assert time.monotonic() - begun < 15


@pytest.mark.parametrize("number", [b"99999999999999999999999", b"4294967296", b"-1", b"x"])
def test_numbers_that_no_server_has_are_refused(number: bytes) -> None:
    def counts(command: bytes, write: Write) -> bool:
        if command.startswith(b"UID SEARCH"):
            write(b"* SEARCH " + number + b"\r\n")
        return command.startswith(b"UID SEARCH")

    with server(counts) as account:
        assert asked(account, lambda mailbox: mailbox.after(0)) == "MAILBOX_BROKEN"
