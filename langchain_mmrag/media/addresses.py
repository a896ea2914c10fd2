"""Which network addresses belong to the public internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# Not reachable from outside, or not one computer, yet "global" to some of the supported Python versions.
_NOT_PUBLIC = tuple(
    ip_network(block)
    for block in (
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # protocol assignments; Teredo is in here
        "3fff::/20",  # documentation
    )
)
_GLOBAL_UNICAST = ip_network("2000::/3")  # all that has been given out of IPv6 so far
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits


def is_public(address: str) -> bool:
    """Whether a numeric IPv4 or IPv6 `address` is one computer on the public internet.

    An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4) has to be public itself. An address with a
    zone id (`fe80::1%eth0`) is local by definition.
    """
    if "%" in address:
        return False
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return _is_plain(ip)
    embedded = ip.ipv4_mapped or ip.sixtofour
    if ip in _NAT64:
        embedded = IPv4Address(int(ip) & 0xFFFF_FFFF)
    if embedded is not None:
        return _is_plain(embedded)
    return ip in _GLOBAL_UNICAST and _is_plain(ip)


def _is_plain(ip: IPv4Address | IPv6Address) -> bool:
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return False
    return not any(ip in block for block in _NOT_PUBLIC)
