"""Addresses that users write: what they mean is looked at, and the connection goes nowhere else."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from chassis import egress
from chassis.egress import AddressRefused, connect, networks, refused
from chassis.errors import Problem

PRIVATE = (
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", 
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2001:db8::1",
)  # fmt: skip
PUBLIC = ("1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_the_open_internet_is_refused(address: str) -> None:
    assert refused(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_the_open_internet_is_not(address: str) -> None:
    assert not refused(ipaddress.ip_address(address))


def test_the_operator_lets_networks_in_and_no_others() -> None:
    allowed = networks("10.1.0.0/16, 127.0.0.1/32")
    for address in ("10.1.2.3", "127.0.0.1", "::ffff:10.1.2.3"):
        assert not refused(ipaddress.ip_address(address), allowed)
    for address in ("10.2.0.1", "127.0.0.2", "169.254.169.254"):
        assert refused(ipaddress.ip_address(address), allowed)
    assert networks("") == ()
    with pytest.raises(ValueError, match="10"):
        networks("10.1.0.0/99")


@pytest.fixture
def listening() -> Iterator[int]:
    """A server on this machine; a test fails when somebody has come to it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(0)
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "::ffff:127.0.0.1",
        "0",
    ],
)
def test_odd_spellings_of_this_machine_reach_nothing(host: str, listening: int) -> None:
    with pytest.raises(Problem) as refusal:
        connect(host, listening, 1)
    assert refusal.value.reason in ("ADDRESS_REFUSED", "HOST_NOT_FOUND")


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Lets a name mean this, and next time the next."""
    asked: list[str] = []
    left = list(answers)

    def told(host: str, port: int, **more: Any) -> list[Any]:
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(egress.socket, "getaddrinfo", told)
    return asked


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch, listening: int) -> None:
    names(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    with pytest.raises(AddressRefused):
        connect("mail.example", listening, 1)


def test_the_connection_goes_to_the_address_that_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, listening: int
) -> None:
    """A name that means another address a moment later (DNS rebinding)."""
    asked = names(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    went: list[Any] = []

    def connecting(address: Any, timeout: float) -> Any:
        went.append(address)
        raise OSError

    monkeypatch.setattr(egress.socket, "create_connection", connecting)
    with pytest.raises(Problem) as refusal:
        connect("mail.example", listening, 1)
    assert refusal.value.reason == "HOST_UNREACHABLE"
    assert went == [("8.8.8.8", listening)] and asked == ["mail.example"]


def test_what_the_operator_lets_in_is_reached() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    with closing(server), closing(connect("localhost", port, 5, networks("127.0.0.0/8, ::1/128"))):
        server.accept()[0].close()
