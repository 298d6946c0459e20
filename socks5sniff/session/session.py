"""The observer of one SOCKS conversation: octets of both TCP sides in, frames, facts and anomalies out."""

from __future__ import annotations


class Session:
    """Observes one TCP connection and says whether it speaks SOCKS and what is said.

    Sides are TCP's: 0 opened the connection, 1 is the other. Roles (client, proxy) are found from the octets.
    Nothing raises for any octets, and memory is bounded for any input. There is no clock: times are arguments, in ns.

    Args:
        trusted: the port is a SOCKS port (the user named it, or it is 1080, 9050 or 9150). Then a greeting alone makes
            a conversation, and another protocol is named in an anomaly.
        loopback: both ends are loopback addresses: a password in clear is no anomaly then.
        address_of: gives the address of a side in text; asked only for UDP ASSOCIATE, to tell whether the client named
            its own address or the target. Without it only a domain name counts as a target.

    Feeding (in the order of the capture):
        feed(side, octets, frame, time): the next octets of a side, in order, of one segment. `bytes` only.
        gap(side, length, frame, time): so many octets of a side are missing from the capture.
        close(side, frame, time): FIN or RST of a side.
        finish(): no more to come; settles an undecided verdict. `outcome()` does it too.

    Verdict and state:
        verdict: Verdict.UNDECIDED, SOCKS or FOREIGN. FOREIGN is final and drops frames and buffers.
        foreign: on a trusted port, what the foreign protocol is: HTTP, TLS, SSH, SOCKS6, unknown; else None.
        done: the session has no use for more octets: a relay is open, or nothing can be decoded any more. Octets after
            a failure are still wanted (for their anomalies) and cost little.
        relay: a tunnel or a UDP association is open.
        client_side: 0, 1, or None while unknown.
        protocol: socks5, socks4, socks4a, or None.
        phase: greeting, authentication, request, relay (where the dialogue stands), or None before the first frame.
        outcome(ended=True): the record's outcome; with ended=False None while there is no verdict yet.
        malformed: a frame could not be read although its octets are there.

    What was seen:
        frames: list of SessionFrame(value, type, sender, frame, time, started, length, offset, summary, damaged), in
            the order of the dialogue.
        anomalies: list of SessionAnomaly(code, frame, message).
        greeting, selection, auth_request, auth_reply, request, reply_frame, peer_reply_frame: the SessionFrame of that
            name or None; each has `.time` (completed, ns), `.started` (its first octet, ns), `.value` (the codec's).

    Facts, None where not seen:
        methods (bytes, as offered), method (int), username, password (bytes; SOCKS4's USERID is a username),
        authenticated (bool), command (int), destination (codec Address), reply (int), bound (Address),
        peer_reply (int), peer (Address); socks4 (bool) says which registry `reply` is of.
        authentication_start, authentication_end: times of the first and last sub-negotiation octet, ns.

    Tunnel:
        tunnel_start: [offset or None, offset or None], by side: stream offset (from the side's first octet fed, gaps
            counted) where the tunnel's octets begin.
        take_tunnel(): the tunnel's octets that were fed already, as (side, octets, frame, time) runs in order of
            arrival a side; at most TUNNEL_KEPT octets a side are kept. A second call gives what came since.
        preamble: (octets, octets) of each side that preceded the greeting and are not SOCKS.
    """
