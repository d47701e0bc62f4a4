"""Who counts as one caller where only an address is known."""

import ipaddress


def counted(address: str) -> str:
    """What is counted of an address. Whoever has one of IPv6 has all 2⁶⁴ of its network, and counts as that network; an IPv4
    address that is written as one of IPv6 counts as itself, and so does what is no address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))
