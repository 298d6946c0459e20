"""Names in a capture filter that would have to be asked of DNS are refused at once; nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from socks5sniff.errors import InputError
from socks5sniff.live.filter_names import refuse_names


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text("# host commented\n10.0.0.1 Known known.example # host remark\n\n::1 ip6\n")
    return path


@pytest.mark.parametrize(
    ("expression", "name", "at"),
    [
        ("host proxy.example", "proxy.example", 6),
        ("tcp and src host a.example", "a.example", 18),
        ("tcp port 1080 and (host 10.0.0.1 or host other)", "other", 42),
        ("host 10.0.0.1 or other", "other", 18),
        ("not net office", "office", 9),
        ("office", "office", 1),
        ("gateway router", "router", 9),
        ("host commented", "commented", 6),
        ("ip6 host remark", "remark", 10),
    ],
)
def test_a_name_is_refused_with_its_place(hosts: Path, expression: str, name: str, at: int) -> None:
    with pytest.raises(InputError, match=f"{name!r} at character {at} is a name that DNS"):
        refuse_names(expression, hosts)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "tcp",
        "tcp port 1080",
        "port http or port ssh",
        "port 80 and ssh",
        "tcp portrange ftp-data-ftp",
        "src or dst port 80",
        "host known or host known.example or host KNOWN",
        "tcp[tcpflags] & tcp-syn != 0",
        "tcp[13] & 2 != 0 and icmp[icmptype] = icmp-echo",
        "ether[0] & 1 = 0 and ip[16] >= 224",
        "ether host 00:11:22:33:44:55 or ether host station",
        "ip6 and host fe80::1 or net 2001:db8::/32",
        "net 10.0.0.0/8 or dst net 192.168",
        r"ip proto \tcp or ether proto \arp",
        "vlan 5 and tcp",
        "wlan type mgt subtype beacon",
        "len > 100 and inbound",
        "tcp prt",
    ],
)
def test_what_needs_no_dns_passes(hosts: Path, expression: str) -> None:
    refuse_names(expression, hosts)


def test_without_a_file_of_hosts_every_name_needs_dns(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        refuse_names("host localhost", tmp_path / "none")
