"""The users of the broker: each of them, and each subject that matters, as the composition has them."""

import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from kehu_local.composition import GATEWAY, MEMBERS, heard_by
from kehu_local.nats import Nats, User, admin, erp_user, gateway_user, inbox, service_user

SECRET = "secret"
ERPS = ("acme", "rival")
DOMAINS = [member.domain for member in MEMBERS]
READERS = {member.domain: heard_by(member) for member in MEMBERS}


@dataclass(frozen=True)
class Try:
    """Something a user asks of the broker, and whether it must be let."""

    user: str
    subject: str
    let: bool
    hears: bool = False
    """Whether it subscribes; else it publishes."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A broker with the users of the whole suite and the ERPs of two tenants."""
    folder = tmp_path_factory.mktemp("users")
    users = [admin(SECRET), gateway_user(SECRET), *(service_user(member, SECRET) for member in MEMBERS)]
    server = Nats(
        folder / "nats", [*users, *(erp_user(tenant, SECRET) for tenant in ERPS)], folder / "nats.log"
    )
    server.start()
    yield server
    server.kill()


def wrongly(server: Nats, tries: Sequence[Try]) -> list[str]:
    """What is let and must not be, or is refused and must be let. Spoken in the broker's own language: a refusal names what was
    refused, and stands before the answer to the next ping."""
    found: list[str] = []
    for user in sorted({one.user for one in tries}):
        mine = [one for one in tries if one.user == user]
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            said = {"user": user, "pass": SECRET, "verbose": False, "pedantic": False}
            lines = [f"CONNECT {json.dumps(said)}\r\n"]
            for number, one in enumerate(mine, 1):
                lines.append(
                    f"SUB {one.subject} {number}\r\n" if one.hears else f"PUB {one.subject} 2\r\n{{}}\r\n"
                )
            connection.sendall("".join([*lines, "PING\r\n"]).encode())
            answer = b""
            while b"PONG\r\n" not in answer:
                chunk = connection.recv(65536)
                assert chunk, answer
                answer += chunk
        refused = answer.decode().lower()
        for one in mine:
            kind = "subscription" if one.hears else "publish"
            was_let = f'permissions violation for {kind} to "{one.subject.lower()}"' not in refused
            if was_let is not one.let:
                found.append(f"{user} {'may' if was_let else 'may not'} {kind} {one.subject}")
    return found


def everybody() -> list[str]:
    return [*DOMAINS, GATEWAY, *(f"erp-{tenant}" for tenant in ERPS)]


def events() -> Iterator[Try]:
    """Whose events each may publish, and which each may hear as they pass."""
    for user in everybody():
        for domain in DOMAINS:
            yield Try(user, f"kehu.acme.{domain}.record.made", user == domain)
            yield Try(user, f"kehu.acme.{domain}.record.made", user == GATEWAY, hears=True)
            yield Try(user, f"kehu.*.{domain}.>", user == GATEWAY, hears=True)
        yield Try(user, "kehu.>", user == GATEWAY, hears=True)
        for other in everybody():
            yield Try(user, f"{inbox(other)}.x", user == other, hears=True)
        for subject in (">", "_INBOX.>", "$JS.>", "$JS.API.>", "$JS.ACK.>", "$SYS.>", "$JS.EVENT.>"):
            yield Try(user, subject, let=False, hears=True)
        for subject in (
            "$SYS.REQ.SERVER.PING",
            "$SYS.REQ.SERVER.x.RELOAD",
            "kehu.acme",
            "kehu.acme.nothing.made.up",
        ):
            yield Try(user, subject, let=False)


def consumers_and_streams() -> Iterator[Try]:
    """Which stream each may make or change, and through whose consumer it may read, acknowledge or begin anew."""
    for user in everybody():
        for domain in DOMAINS:
            stream = domain.upper()
            own = user == domain
            reads = domain in READERS.get(user, ())
            yield Try(user, f"$JS.API.STREAM.INFO.{stream}", own or reads or user == GATEWAY)
            for verb in ("CREATE", "UPDATE"):
                yield Try(user, f"$JS.API.STREAM.{verb}.{stream}", own)
            for verb in (
                "DELETE",
                "PURGE",
                "MSG.GET",
                "MSG.DELETE",
                "SNAPSHOT",
                "RESTORE",
                "LEADER.STEPDOWN",
            ):
                yield Try(user, f"$JS.API.STREAM.{verb}.{stream}", let=False)
            yield Try(user, f"$JS.API.DIRECT.GET.{stream}", let=False)
            for other in everybody():
                theirs = user == other and reads
                erp = user == other and user.startswith("erp-") and stream == "SALES"
                yield Try(user, f"$JS.API.CONSUMER.CREATE.{stream}.{other}", theirs)
                yield Try(user, f"$JS.API.CONSUMER.CREATE.{stream}.{other}.kehu.rival.sales.order.>", theirs)
                yield Try(user, f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{other}", theirs)
                yield Try(user, f"$JS.API.CONSUMER.DELETE.{stream}.{other}", theirs)
                for verb in ("INFO", "MSG.NEXT"):
                    yield Try(user, f"$JS.API.CONSUMER.{verb}.{stream}.{other}", theirs or erp)
                yield Try(user, f"$JS.ACK.{stream}.{other}.1.1.1.1.1", theirs or erp)


@pytest.mark.parametrize("user", everybody())
def test_each_user_publishes_and_hears_what_is_theirs(broker: Nats, user: str) -> None:
    assert wrongly(broker, [one for one in events() if one.user == user]) == []


@pytest.mark.parametrize("user", everybody())
def test_nobody_touches_anothers_consumer_or_stream(broker: Nats, user: str) -> None:
    assert wrongly(broker, [one for one in consumers_and_streams() if one.user == user]) == []


def test_the_tries_are_many() -> None:
    tries = [*events(), *consumers_and_streams()]
    assert len(tries) > 4000 and sum(one.let for one in tries) > 300


def test_a_user_that_may_too_much_is_seen(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The check can fail: with somebody whose permissions are a star too wide."""
    folder = tmp_path_factory.mktemp("wide")
    users: list[User] = []
    for member in MEMBERS:
        user = service_user(member, SECRET)
        if member.domain == "leads":
            user = replace(user, publish=(*user.publish, "kehu.*.*.>", "$JS.API.CONSUMER.MSG.NEXT.SALES.*"))
        users.append(user)
    server = Nats(folder / "nats", [admin(SECRET), *users], folder / "nats.log")
    server.start()
    try:
        tries = [one for one in [*events(), *consumers_and_streams()] if one.user == "leads"]
        found = wrongly(server, tries)
    finally:
        server.kill()
    assert "leads may publish kehu.acme.sales.record.made" in found
    assert "leads may publish $JS.API.CONSUMER.MSG.NEXT.SALES.marketing" in found
