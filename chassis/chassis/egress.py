"""Connections to addresses that a user has written: made to the address that was checked, and to no other.

What a name means is asked once, every address that it has is looked at, and the connection goes to one of those: a name that
changes its meaning between the look and the call leads nowhere else. Addresses of the machine, of private networks, of links and
of everything else that is not the open internet are refused, however they are spelled, unless the operator lets them in by
`KEHU_EGRESS_NETWORKS`.
"""

import ipaddress
import socket
import time
from collections.abc import Sequence

from chassis.errors import Precondition, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(Precondition):
    """The host is, or may be, on a network that users may not reach."""

    reason = "ADDRESS_REFUSED"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"'{host[:200]}' is no address on the open internet. Who runs Kehu can let in networks of their own.",
            metadata={"host": host[:200]},
        )


def networks(text: str) -> tuple[Network, ...]:
    """The networks of a setting such as `10.1.0.0/16, fd00::/8`. Raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def refused(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether nobody may be sent to that address. An address that wraps another is what it wraps."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return refused(inner, allowed)
        if address.scope_id:
            return True
    if any(address.version == network.version and address in network for network in allowed):
        return False
    return not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified


def addresses(host: str, port: int) -> list[Address]:
    """What the name means now. Raises Unavailable (HOST_NOT_FOUND)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"The host '{host[:200]}' is not known.", reason="HOST_NOT_FOUND") from error
    return list(dict.fromkeys(ipaddress.ip_address(one[4][0]) for one in found))


def connect(host: str, port: int, timeout: float, allowed: Sequence[Network] = ()) -> socket.socket:
    """A connection to one of the host's addresses, after all of them were found to be fit. Blocks for up to `timeout` seconds.

    Raises AddressRefused, Unavailable (HOST_NOT_FOUND, HOST_UNREACHABLE).
    """
    found = addresses(host, port)
    if not found or any(refused(address, allowed) for address in found):
        raise AddressRefused(host)
    until = time.monotonic() + timeout
    for address in found:
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((str(address), port), timeout=left)
        except OSError:
            continue
    raise Unavailable(f"The host '{host[:200]}' does not answer on port {port}.", reason="HOST_UNREACHABLE")
