"""Mailboxes read by IMAP4rev1 (RFC 3501), over connections that `chassis.egress` has opened.

The standard library's client, for use in a thread: it is given its one connection, on which everything has its time, the whole
of it, too. What a server sends is read up to a bound: it may be anybody's.
"""

import base64
import imaplib
import io
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

from chassis.egress import AddressRefused, Network, connect, refused
from chassis.errors import Unavailable

TLS, STARTTLS, PLAIN = "TLS", "STARTTLS", "PLAIN"
_TIMEOUT = 20.0
_WHOLE = 120.0
"""Seconds after which a connection ends, whatever goes on in it: who sends a byte now and then is not waited for."""
_MOST_AN_ANSWER = 4 * 1024 * 1024
"""Bytes of the answer to one command."""
_LONGEST_LINE = 1_000_000
"""A line that is cut ends in no line end, and is refused by the library."""
_MOST_NUMBER = 2**32 - 1
"""RFC 3501 has no greater ones."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class MailboxRefused(Unavailable):
    """The server does not let us in, or does not have what is asked for."""

    reason = "MAILBOX_REFUSED"


@dataclass(frozen=True)
class Account:
    """Where a mailbox is, and who asks for it."""

    host: str
    port: int
    security: str
    user: str
    password: str
    folder: str = "INBOX"


class _Bounded(io.RawIOBase):
    """What comes over a connection: up to a time, and so many bytes until `count` is set back."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self.connection = connection
        self._until = until
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the mail server is too slow")
        if self.count > _MOST_AN_ANSWER:
            raise ValueError("the mail server sends more than was asked for")
        self.connection.settimeout(min(_TIMEOUT, left))
        count = self.connection.recv_into(buffer)
        self.count += count
        return count


class _Client(imaplib.IMAP4):
    """The library's client over a connection that is there."""

    def __init__(self, account: Account, allowed: Sequence[Network], context: ssl.SSLContext) -> None:
        self._account, self._allowed, self._context = account, allowed, context
        self.until = time.monotonic() + _WHOLE
        self._bounded: _Bounded | None = None
        super().__init__(account.host, account.port, _TIMEOUT)

    @property
    def _incoming(self) -> "io.BufferedReader[_Bounded]":
        # What came before TLS began is no answer to what is asked behind it: another connection is read anew.
        if self._bounded is None or self._bounded.connection is not self.sock:
            self._bounded = _Bounded(self.sock, self.until)
            self._reader = io.BufferedReader(self._bounded)
        return self._reader

    def read(self, size: int) -> bytes:
        if size > _MOST_AN_ANSWER:
            # A literal says how long it is before it comes.
            raise ValueError("the mail server sends more than was asked for")
        return self._incoming.read(size)

    def readline(self) -> bytes:
        return self._incoming.readline(_LONGEST_LINE)

    def begin(self) -> None:
        """Another command is asked: what it answers is counted anew."""
        if self._bounded is not None:
            self._bounded.count = 0

    def _create_socket(self, timeout: float | None = None) -> socket.socket:
        opened = connect(self._account.host, self._account.port, timeout or _TIMEOUT, self._allowed)
        opened.settimeout(_TIMEOUT)
        if self._account.security == PLAIN and not refused(ipaddress.ip_address(opened.getpeername()[0])):
            # A password goes in the clear through networks of one's own only.
            opened.close()
            raise AddressRefused(self._account.host)
        if self._account.security != TLS:
            return opened
        try:
            return self._context.wrap_socket(opened, server_hostname=self._account.host)
        except BaseException:
            opened.close()
            raise


class Mailbox:
    """A folder of a mailbox, opened for reading only."""

    def __init__(self, client: _Client, uid_validity: int) -> None:
        self._client = client
        self.uid_validity = uid_validity
        """Another number than before means that messages have other numbers than before."""

    def after(self, uid: int, since: date | None = None) -> list[int]:
        """The numbers of the messages behind that one, in their order; of those that came on that day or later."""
        # A range whose begin is behind the last message is read the other way round, and gives that message.
        asked = [f"UID {uid + 1}:*"]
        if since is not None:
            asked.append(f"SINCE {since.day}-{_MONTHS[since.month - 1]}-{since.year}")
        found = self._ask("SEARCH", *asked)
        numbers = sorted(_number(one) for line in found if line for one in line.split())
        return [number for number in numbers if number > uid]

    @property
    def seconds_left(self) -> float:
        """How long it can still be read."""
        return self._client.until - time.monotonic()

    def message(self, uid: int, most: int) -> bytes:
        """Up to `most` bytes of a message, which stays unread; empty when it is gone."""
        found = self._ask("FETCH", str(uid), f"(BODY.PEEK[]<0.{most}>)")
        bodies: list[bytes] = [one[1] for one in found if isinstance(one, tuple)]
        return bodies[0][:most] if bodies else b""

    def _ask(self, command: str, *arguments: Any) -> list[Any]:
        self._client.begin()
        kind, data = self._client.uid(command, *arguments)
        if kind != "OK":
            raise MailboxRefused(f"The mail server answers {command} with {kind}.")
        return data


@contextmanager
def opened(account: Account, allowed: Sequence[Network] = ()) -> Generator[Mailbox]:
    """The folder, as long as the block runs. Blocks.

    Raises AddressRefused, Unavailable (HOST_NOT_FOUND, HOST_UNREACHABLE, MAILBOX_REFUSED, MAILBOX_BROKEN). No message of these
    holds the password.
    """
    context = ssl.create_default_context()
    client: _Client | None = None
    try:
        client = _Client(account, allowed, context)
        if account.security == STARTTLS:
            client.starttls(context)
        client.login(account.user, account.password)
        kind, _ = client.select(_quoted(account.folder), readonly=True)
        if kind != "OK":
            raise MailboxRefused(f"The mailbox has no folder '{account.folder[:100]}'.")
        told: Any = client.response("UIDVALIDITY")[1]
        yield Mailbox(client, _number(told[0]) if told and told[0] else 0)
    except UnicodeEncodeError:
        # Its words would show a character of the password.
        raise MailboxRefused("The user name and the password of a mailbox are written in ASCII.") from None
    except imaplib.IMAP4.abort as error:
        raise Unavailable("The mail server has ended the connection.", reason="MAILBOX_BROKEN") from error
    except imaplib.IMAP4.error as error:
        raise MailboxRefused(_without(account, f"The mail server refuses: {error}")) from None
    except (OSError, ssl.SSLError, ValueError) as error:
        said = _without(account, f"{type(error).__name__}: {error}")
        raise Unavailable(f"The mail server cannot be talked to: {said}", reason="MAILBOX_BROKEN") from None
    finally:
        if client is not None:
            client.begin()
            with suppress(Exception):
                client.logout()


def _number(text: bytes) -> int:
    number = int(text) if len(text) <= 10 else -1
    if not 0 <= number <= _MOST_NUMBER:
        raise ValueError("the mail server counts as no server does")
    return number


def _without(account: Account, text: str) -> str:
    """What a server said, cut and without the password, which it may have repeated."""
    if account.password:
        text = text.replace(account.password, "…")
    return " ".join(text.split())[:300]


def _quoted(folder: str) -> str:
    name = modified_utf7(folder).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}"'


_WIDE = re.compile(r"[^\x20-\x7e]+")


def modified_utf7(name: str) -> str:
    """The name of a folder as RFC 3501, 5.1.3 has it on the line."""

    def shifted(found: re.Match[str]) -> str:
        coded = base64.b64encode(found[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
        return f"&{coded}-"

    return _WIDE.sub(shifted, name.replace("&", "&-"))
