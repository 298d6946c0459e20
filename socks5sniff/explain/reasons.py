"""What lies behind each thing that can be wrong, likeliest first, and what to try next.

One entry for every anomaly of the codec's registry, for every reply code that refuses, and for every way in which a
conversation can end early. `{proxy}`, `{target}` and `{methods}` in a text stand for the conversation's own.
"""

from __future__ import annotations

from typing import NamedTuple

from socks5sniff.codec.codes import REPLIES, SOCKS4_REPLIES


class Reason(NamedTuple):
    """Why something is so, and what to do about it."""

    causes: tuple[str, ...]
    """Likeliest first."""
    advice: str
    """What to try next."""


_ONION = "Look at the proxy's log at the time of the request; ask for another onion service to see whether any works."

ANOMALY_REASONS: dict[str, Reason] = {
    "bad-version": Reason(
        ("one side speaks another protocol, or another version of SOCKS", "a broken implementation"),
        "Look at the octets of that frame: HTTP, TLS and SOCKS4 are told by their first octet.",
    ),
    "no-methods-offered": Reason(
        ("a broken client, or a scanner",), "Make the client offer a method; 0 (no authentication) is the usual one."
    ),
    "duplicate-methods": Reason(("a careless client; proxies bear it",), "Nothing needs to be done."),
    "method-not-offered": Reason(
        ("a broken proxy: it answers with its own method whatever is offered", "the greeting was cut in the capture"),
        "Make the client offer the method that the proxy chose, and see whether they understand each other.",
    ),
    "no-acceptable-method": Reason(
        (
            "the proxy wants a user name and a password, and the client offered none",
            "the client insists on a method (GSSAPI) that the proxy does not know",
            "the proxy has no rule for this client's address",
        ),
        "Give the client credentials (curl: socks5h://USER:PASSWORD@{proxy}), or let the proxy accept {methods}.",
    ),
    "cleartext-credentials": Reason(
        ("username/password of RFC 1929 has no encryption",),
        "Where others can listen, put TLS or SSH around the connection to the proxy, and change the password.",
    ),
    "empty-credential": Reason(
        ("the client has no password configured, or ignores it", "a client that isolates streams by user name (Tor)"),
        "Look at the client's configuration if the proxy refused it.",
    ),
    "auth-version": Reason(
        ("a proxy that writes SOCKS's version 5 where RFC 1929 wants 1",),
        "Strict clients close there: try another client, or mend the proxy.",
    ),
    "auth-failed": Reason(
        ("a wrong user name or password", "an account that is locked, expired or bound to other addresses"),
        "The same credentials with `curl -x socks5h://USER:PASSWORD@{proxy}`, and look at the proxy's log.",
    ),
    "reserved-nonzero": Reason(
        ("a field was written at the wrong place", "an extension that uses the reserved octet"),
        "Compare the frame with RFC 1928; strict peers refuse it.",
    ),
    "unknown-command": Reason(
        ("a private extension of client and proxy", "octets that are no SOCKS request"),
        "Ask what the client's documentation says of this command; proxies answer with code 7.",
    ),
    "unknown-address-type": Reason(
        ("a broken client", "a request that was written at the wrong place, or encrypted"),
        "Look at the fourth octet of the request: 1 is IPv4, 3 a name, 4 IPv6.",
    ),
    "unknown-reply": Reason(
        ("a proxy with codes of its own", "octets that are no reply"),
        "Look it up in the proxy's documentation; clients treat it as a failure.",
    ),
    "empty-domain": Reason(
        ("the client was given no host name",), "Look at the address that the client was configured or called with."
    ),
    "domain-not-ascii": Reason(
        ("an international name that the client did not turn into its ASCII form (IDNA)", "octets of something else"),
        "The name in its xn-- form.",
    ),
    "domain-is-ip-literal": Reason(
        ("a client that sends every destination as a name",),
        "Nothing needs to be done where the proxy resolves it; some refuse it as a name that does not exist.",
    ),
    "domain-has-nul": Reason(
        ("a client that counts the end of a C string into the name", "an attempt to be understood in two ways"),
        "Mend the client: the length must not include the NUL.",
    ),
    "zero-port": Reason(
        ("the client was given no port", "a client that asks for an address only"),
        "Look at the destination that the client was called with.",
    ),
    "early-data": Reason(
        ("a client that saves a round trip (optimistic data, as Tor Browser sends)",),
        "Nothing needs to be done where the proxy keeps it; some lose it: see whether an answer came.",
    ),
    "data-after-failure": Reason(
        ("a side that did not understand the refusal", "a message for people behind the reply"),
        "Look at what it says; the client should have closed.",
    ),
    "server-spoke-first": Reason(
        ("the port is not SOCKS alone: a banner, a wrapper (TLS, a tunnel) or another service",),
        "Connect with `ncat {proxy}` and see what comes unasked.",
    ),
    "reply-before-request": Reason(
        ("a proxy that answers without reading", "segments are missing from the capture, or in a wrong order"),
        "Capture again near the proxy; if it stays so, the proxy is broken.",
    ),
    "split-frame": Reason(
        ("a client that writes a frame in pieces, or a small segment size",),
        "Nothing needs to be done where the proxy waits for the rest; hand-written ones often do not.",
    ),
    "pipelined-frames": Reason(
        ("a client that does not wait for answers",),
        "Nothing needs to be done where the proxy reads on; hand-written ones often lose the second frame.",
    ),
    "bound-unspecified": Reason(
        ("a proxy that listens on all addresses; it means the proxy's own address",),
        "Clients that do not know that send to nowhere: see whether datagrams went to the relay.",
    ),
    "associate-names-target": Reason(
        ("a client that takes UDP ASSOCIATE's address for the destination",),
        "Proxies then expect datagrams from there, and drop the client's: let the client send zeros.",
    ),
    "refusal-too-long": Reason(("a proxy that sends a whole reply as its refusal",), "Nothing: the refusal is clear."),
    "gssapi-level-unprotected": Reason(
        ("the NEC variant of RFC 1961",), "Let curl use --socks5-gssapi-nec; other clients must know the variant too."
    ),
    "late-close": Reason(
        ("the client waits for something after the refusal", "a proxy that leaves closing to the client"),
        "RFC 1928 wants the proxy to close within 10 s of a failure; it ties up connections otherwise.",
    ),
    "handshake-gap": Reason(
        ("the capture lost packets, or cut them (snap length)", "it began or ended in the middle"),
        "Capture again with a snap length that cuts nothing (-s 0) and a larger buffer.",
    ),
    "midstream": Reason(
        ("the capture began after the connection", "a filter left out the first packets"),
        "Begin the capture before the client connects, if the beginning matters.",
    ),
    "conflicting-retransmission": Reason(
        ("a middlebox that changes octets", "an attempt to be understood in two ways", "a damaged packet"),
        "Capture at both ends and compare: the side that differs shows who changes it.",
    ),
    "not-socks-on-socks-port": Reason(
        ("the client was told that this is an HTTP proxy, or no proxy at all", "a scanner", "another service's port"),
        "Give the address with its scheme: socks5h://{proxy} instead of http://{proxy}.",
    ),
    "local-dns": Reason(
        ("the client resolves names itself and hands the proxy an address (socks5:// or socks4://)",),
        "Let the proxy resolve: socks5h:// in curl, remote DNS in browsers, proxy_dns in proxychains.",
    ),
    "udp-fragmented": Reason(
        ("datagrams larger than the client's limit",), "Most proxies drop fragments: send smaller datagrams."
    ),
    "udp-unassociated": Reason(
        (
            "another program's datagrams, or a scanner's",
            "a client whose UDP comes from another address",
        ),
        "Compare that address with the client's; behind NAT it can be another one.",
    ),
    "auth-unasked": Reason(
        ("a client that sends its password whatever the proxy chose",),
        "Mend the client: the proxy reads the login as a request and refuses it, and the password crossed for nothing.",
    ),
    "proxy-protocol": Reason(
        ("a load balancer in front of the proxy",),
        "The client that it names is the real one.",
    ),
    "closed-without-data": Reason(
        (
            "the proxy answers before it has connected (ssh -D, Tor, many others), and the destination then refused",
            "the destination closed without a word",
        ),
        "The destination from the proxy's host; do not take success for an open port in a scan through it.",
    ),
    "unreachable-bound": Reason(
        ("the proxy tells the address that it sees itself (loopback, private, behind NAT)",),
        "Configure the address that the proxy announces for UDP (danted: internal).",
    ),
    "udp-one-way": Reason(
        (
            "nobody answers at the destination, or it is the wrong port",
            "a firewall lets UDP to the relay, but not back",
            "answers come from another address or port, which the client ignores",
        ),
        "Send the same datagram from the proxy's host; capture there with -i any to see how far it goes.",
    ),
    "udp-no-header": Reason(
        ("the client sends to the relay as if it were the destination", "a program that is told of the port only"),
        "Let the client put the header of RFC 1928 section 7 in front of its data.",
    ),
    "udp-names-client": Reason(
        ("a proxy that writes the client's address where the remote sender belongs",),
        "Clients that check the sender drop such answers: mend the proxy.",
    ),
    "udp-after-close": Reason(
        ("the client closed its TCP connection too early", "the proxy closed it; the association ended with it"),
        "Keep the TCP connection open as long as the datagrams flow.",
    ),
    "udp-fragments-incomplete": Reason(
        ("fragments were lost or dropped",), "Send smaller datagrams: lost fragments lose the whole datagram."
    ),
    "odd-destination": Reason(
        ("a URL or `host:port` was given where a host belongs", "a number in another notation, to get around a rule"),
        "Look at the address that the client was called with; proxies resolve such names in different ways, or not.",
    ),
    "internal-error": Reason(
        ("a mistake in socks5sniff, which the message names",),
        "Report it with the message and, if you can, with the packets; the line on standard error says where.",
    ),
    "half-frame": Reason(
        ("a side crashed or gave up in the middle", "a frame written shorter than its length says"),
        "Look at the log of the side that closed.",
    ),
}

REPLY_REASONS: dict[int, Reason] = {
    0x01: Reason(
        ("the name does not resolve at the proxy", "the proxy is out of resources, or cannot say it better"),
        "Look at the proxy's log; try the destination's address instead of its name.",
    ),
    0x02: Reason(
        ("the proxy's rules forbid this destination, port, command or user",),
        "Look at the proxy's rules for {target} and this client.",
    ),
    0x03: Reason(
        ("the proxy has no route there: often IPv6 without IPv6", "its uplink is down"),
        "On the proxy's host: `ip route get` for the destination's address.",
    ),
    0x04: Reason(
        ("the destination is down or filtered, and the proxy gave up", "the name does not resolve at the proxy"),
        "From the proxy's host: ping and `ncat -v` to {target}.",
    ),
    0x05: Reason(
        ("nothing listens on that port", "a firewall that answers with a reset", "the wrong port"),
        "From the proxy's host: `ncat -v` to {target}.",
    ),
    0x06: Reason(
        ("the proxy's attempt timed out: the destination does not answer", "a routing loop"),
        "From the proxy's host: traceroute to {target}; with Tor, try again: another circuit may work.",
    ),
    0x07: Reason(
        ("the proxy has no BIND, no UDP, or not this private command", "it is switched off in its configuration"),
        "Look up what the proxy supports; ssh -D and microsocks know CONNECT only.",
    ),
    0x08: Reason(
        ("the proxy has no IPv6", "a proxy that takes no names, or names only", "a broken address type in the request"),
        "The destination as an IPv4 address, and as a name.",
    ),
    0x09: Reason(("the proxy finds the address senseless",), "Look at the destination that the client was given."),
    0xF0: Reason(("the onion service is offline, or its descriptor has expired",), _ONION),
    0xF1: Reason(("a damaged descriptor", "clocks that differ too much"), _ONION),
    0xF2: Reason(("the service's introduction points do not answer: it is offline or just moved",), _ONION),
    0xF3: Reason(("the service did not come to the rendezvous: overloaded or offline",), _ONION),
    0xF4: Reason(("the service wants an authorised client",), "Give Tor the client's key (ClientOnionAuthDir)."),
    0xF5: Reason(("the client's key is not one of the service's",), "Compare the keys with the service's owner."),
    0xF6: Reason(("a typing error: the address's checksum is wrong",), "Copy the onion address again."),
    0xF7: Reason(("the service's introduction points are slow or gone",), _ONION),
    91: Reason(
        ("the destination refused or does not answer", "the proxy's rules forbid it", "it takes no SOCKS4"),
        "SOCKS4 cannot say more: try SOCKS5, whose codes can, or look at the proxy's log.",
    ),
    92: Reason(("no identd answers on the client's host",), "Run identd, or switch this off."),
    93: Reason(("identd names another user than the request",), "Use the user name that identd reports."),
}
"""By REP of SOCKS5 and CD of SOCKS4."""

ENDING_REASONS: dict[str, Reason] = {
    "ended-unanswered": Reason(
        ("the proxy is overloaded or hangs", "it waits for more: another protocol, a PROXY header", "lost packets"),
        "See whether other clients are answered; look at the proxy's log.",
    ),
    "ended-by-proxy": Reason(
        ("the proxy does not want this client (address, limit)", "it does not like the frame", "it crashed"),
        "Look at the proxy's log at that time; try another client to see whether the frame is the reason.",
    ),
    "ended-without-reply": Reason(
        (
            "the destination refuses or cannot be reached, and the proxy says so by closing (ssh -D)",
            "the proxy does not want this destination or this client",
            "it crashed",
        ),
        "From the proxy's host: `ncat -v` to {target}; look at the proxy's log at that time.",
    ),
    "ended-by-client": Reason(
        ("the client lost patience", "it does not like the proxy's answer", "it was stopped", "a port scan"),
        "Compare the waiting time with the client's timeout.",
    ),
    "capture-ended": Reason(
        ("the capture ended before the answer came", "packets are missing from it"), "Capture longer."
    ),
    "malformed": Reason(
        ("a broken implementation on one side", "another protocol"), "Look at the frame that the evidence names."
    ),
    "udp-unused": Reason(
        ("the client had nothing to send, or the capture does not show where it sent it",),
        "Capture all interfaces; compare the relay's address with where the client's datagrams go.",
    ),
    "slow-request": Reason(
        ("the proxy resolves slowly, or tries addresses that do not answer (IPv6 first)", "a slow destination"),
        "The destination's address instead of its name; capture on the proxy with -i any to see its other leg.",
    ),
    "unreachable-proxy": Reason(
        ("nothing listens there", "a firewall in between", "the proxy is out of connections"),
        "From the client: `ncat -v` to the proxy.",
    ),
}

OTHER_REPLY = Reason(
    ("a proxy with codes of its own",), "Look the code up in the proxy's documentation; clients treat it as a failure."
)


def reply_reason(code: int) -> Reason:
    """Why a proxy refuses with this code."""
    return REPLY_REASONS.get(code, OTHER_REPLY)


def refusing_codes() -> set[int]:
    """Reply codes with a name that refuse."""
    return {code for code in REPLIES if code} | {code for code in SOCKS4_REPLIES if code != 90}
