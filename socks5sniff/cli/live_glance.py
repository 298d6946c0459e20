"""What the loop needs of each conversation, without having it written out: most are only passed on to a sink."""

from __future__ import annotations

from typing import NamedTuple

from socks5sniff.record import Conversation, Endpoint
from socks5sniff.record.regular import RegularConversation
from socks5sniff.sinks.words import octets


class Glance(NamedTuple):
    """Facts of a conversation."""

    client: Endpoint
    proxy: Endpoint
    outcome: str
    stream: int
    sent: int
    received: int


def glance(conversation: Conversation) -> Glance:
    """The facts of a conversation, whose octets are 0 where none went through."""
    if isinstance(conversation, RegularConversation):
        regular, flow = conversation.source
        lengths = regular.lengths
        return Glance(
            Endpoint(flow.opener, flow.opener_port),
            Endpoint(flow.responder, flow.responder_port),
            regular.shape.outcome,
            flow.stream,
            max(flow.passed0 - sum(lengths[0::2]), 0),
            max(flow.passed1 - sum(lengths[1::2]), 0),
        )
    c = conversation
    return Glance(c.client, c.proxy, c.outcome, c.tcp_stream, *(octets(c) or (0, 0)))
