"""Host names in a capture filter: libpcap would ask DNS for them before anything is captured, ten seconds or more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import FilterError

_WORD = re.compile(r"\[[^\]]*\]|[\w.:\\/-]+|\S")
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*\.?")
_HEXADECIMAL = re.compile(r"0[xX][0-9A-Fa-f]+|[0-9A-Fa-f]{2}([.:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{12}")

_CONSTANT = re.compile(r"(tcp|icmp6?)(-\w+|flags|type|code)")

_HOSTS = frozenset({"host", "net", "gateway", "src", "dst"})
_OTHER_WORDS = """
port portrange proto protochain ifname on ifindex reason rset ruleset srnr subrulenum action type subtype dir direction
ra ta addr1 addr2 addr3 addr4 mask less greater vlan mpls pppoes geneve vxlan lane metac bcc sc ilmic connectmsg
metaconnect vpi vci inbound outbound broadcast multicast len and or not
"""
_PROTOCOL_WORDS = """
ether link fddi tr wlan ip ip6 arp rarp decnet tcp udp sctp icmp icmp6 igmp igrp pim vrrp carp ah esp atalk aarp lat
moprc mopdl stp ipx netbeui iso es-is is-is esis isis clnp l1 l2 lsp iih snp csnp psnp radio slip ppp llc llcsap pppoed
mtp2 fisu lssu msu mtp3 sio opc dpc sls hsio hopc hdpc hsls oam oamf4 oamf4ec oamf4sc
"""
"""Words of pcap-filter(7) that are no names: in front of ports and the like, and of protocols."""
_OTHERS, _PROTOCOLS = frozenset(_OTHER_WORDS.split()), frozenset(_PROTOCOL_WORDS.split())
_JOINTS = frozenset({"and", "or", "not"})
_LINKS = frozenset({"ether", "link", "fddi", "tr", "wlan"})
_PROTOCOLS = frozenset(
    [
        "ether",
        "link",
        "fddi",
        "tr",
        "wlan",
        "ip",
        "ip6",
        "arp",
        "rarp",
        "decnet",
        "tcp",
        "udp",
        "sctp",
        "icmp",
        "icmp6",
        "igmp",
        "igrp",
        "pim",
        "vrrp",
        "carp",
        "ah",
        "esp",
        "atalk",
        "aarp",
        "lat",
        "moprc",
        "mopdl",
        "stp",
        "ipx",
        "netbeui",
        "iso",
        "es-is",
        "is-is",
        "esis",
        "isis",
        "clnp",
        "l1",
        "l2",
        "lsp",
        "iih",
        "snp",
        "csnp",
        "psnp",
        "radio",
        "slip",
        "ppp",
        "llc",
        "lane",
        "llcsap",
        "pppoed",
        "mtp2",
        "fisu",
        "lssu",
        "msu",
        "mtp3",
        "sio",
        "opc",
        "dpc",
        "sls",
        "hsio",
        "hopc",
        "hdpc",
        "hsls",
        "oam",
        "oamf4",
        "oamf4ec",
        "oamf4sc",
    ]
)


def refuse_names(expression: str, hosts: Path = Path("/etc/hosts")) -> None:
    """See that a filter can be compiled without asking anybody.

    Args:
        expression: in pcap-filter(7)'s syntax; it may be wrong, which libpcap will say.
        hosts: the file whose names libpcap finds at once.

    Raises:
        FilterError: it has the name of a host that only DNS may know.
    """
    names = [*_names(expression)]
    known = _known(hosts) if names else set()
    for name, at in names:
        if name.lower() not in known:
            raise FilterError(
                f"filter {expression!r}: {name!r} at character {at + 1} is a name that DNS would have to be asked for; "
                "give its address"
            )


def _names(expression: str) -> Iterator[tuple[str, int]]:
    """Words that stand where the address of a host or a network is expected, and where they are."""
    of_host, of_link, follows_protocol = True, False, False
    for found in _WORD.finditer(expression):
        word = found[0]
        if word in _HOSTS:
            of_host, of_link = True, of_link and follows_protocol
            follows_protocol = False
        elif word in _PROTOCOLS:
            of_link, follows_protocol = word in _LINKS, True
        elif word in _OTHERS:
            of_host, follows_protocol = word in _JOINTS and of_host, False
        elif not _NAME.fullmatch(word) or _HEXADECIMAL.fullmatch(word) or _CONSTANT.fullmatch(word):
            follows_protocol = False
        elif of_host and not of_link and not follows_protocol:  # a name right behind a protocol is wrong anyway
            yield word, found.start()


def _known(hosts: Path) -> set[str]:
    try:
        lines = hosts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return set()
    return {name.lower() for line in lines for name in line.partition("#")[0].split()[1:]}
