"""Whose packet it is, where numbers do not tell: by the network that it comes from."""

from __future__ import annotations

import pytest

from socks5sniff.packets.columns import TcpFlag
from socks5sniff.streams.spaces import Route

CLIENT, SERVER = 0, 1


def two_at_once(elsewhere: int = 2) -> Route:
    """Two connections with the same endpoints, whose servers have said nothing yet; one comes from network 1."""
    route = Route([])
    route.take(0, CLIENT, TcpFlag.SYN, 1000, None, 0, 0, 1)
    route.take(1, CLIENT, TcpFlag.SYN, 900_000_000, None, 0, 1, elsewhere)
    return route


@pytest.mark.parametrize(("network", "rows"), [(1, [[0, 2], [1]]), (2, [[0], [1, 2]])])
def test_a_direction_not_seen_yet_comes_from_the_network_of_the_other(network: int, rows: list[list[int]]) -> None:
    route = two_at_once()
    route.take(2, SERVER, TcpFlag.PSH, 5000, None, 10, 2, network)
    assert [space.rows for space in route.spaces] == rows


@pytest.mark.parametrize(("network", "rows"), [(1, [[0, 2, 3], [1]]), (2, [[0], [1, 2, 3]])])
def test_a_direction_that_was_seen_goes_on_in_its_network(network: int, rows: list[list[int]]) -> None:
    route = two_at_once()
    for position, sequence in ((2, 5000), (3, 2_000_000_000)):
        route.take(position, SERVER, TcpFlag.PSH, sequence, None, 10, position, network)
    assert [space.rows for space in route.spaces] == rows


def test_numbers_tell_where_the_network_does_not() -> None:
    route = two_at_once(elsewhere=1)
    route.take(2, SERVER, TcpFlag.ACK, 5000, 1001, 0, 2, 1)
    route.take(3, SERVER, TcpFlag.ACK, 5000, 900_000_001, 0, 3, 1)
    assert [space.rows for space in route.spaces] == [[0, 2], [1, 3]]
