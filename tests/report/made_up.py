"""Made-up conversations in any number, as a proxy of an office might have them: the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from socks5sniff.record import (
    AnomalyEntry,
    Conversation,
    Endpoint,
    FrameEntry,
    ReplyCode,
    Target,
    Timing,
    Traffic,
    Tunnel,
)

from .community import community_id

START = 1_782_000_000_000_000_000
_REFUSED = ReplyCode(5, "connection refused")
_OUTCOMES = ("succeeded", "rejected", "auth-failed", "incomplete")


def conversations(count: int, seed: int = 1) -> Iterator[Conversation]:
    """Sixty clients, three proxies, 3,000 hosts of which few are asked for often; 15 % fail; each has six frames."""
    chance = random.Random(seed)
    hosts = [f"{chance.choice(('www', 'api', 'cdn', 'mail'))}{n}.example{n % 97}.test" for n in range(3000)]
    users = [f"user{n}" for n in range(200)]
    proxies = [Endpoint(f"192.0.2.{n}", 1080) for n in (1, 2, 3)]
    now, frame = START, 0
    for number in range(1, count + 1):
        now += int(chance.expovariate(1 / 4e6))
        yield _one(chance, number, now, frame, hosts[int(3000 * chance.random() ** 4)], chance.choice(users), proxies)
        frame += chance.randrange(12, 40)


def _one(
    chance: random.Random, number: int, start: int, before: int, host: str, user: str, proxies: list[Endpoint]
) -> Conversation:
    outcome = chance.choices(_OUTCOMES, (85, 9, 3, 3))[0]
    client = Endpoint(f"10.1.{chance.randrange(4)}.{chance.randrange(15)}", chance.randrange(32768, 61000))
    proxy = chance.choice(proxies)
    asked = outcome in ("succeeded", "rejected")
    bound = Target("ipv4", "203.0.113.7", chance.randrange(32768, 61000)) if outcome == "succeeded" else None
    target = Target("domain", host, chance.choice((443, 443, 443, 80))) if asked else None
    steps = [round(chance.lognormvariate(mean, 0.6)) for mean in (12.5, 13, 13.5, 12, 17.5)]
    frames = [
        ("client", "greeting", 4, "Greeting: no-authentication, username-password"),
        ("proxy", "method-selection", 2, "Method selection: username-password"),
        ("client", "auth-request", 3 + len(user) + 8, f"Username: {user}"),
        ("proxy", "auth-reply", 2, "Login succeeded" if outcome != "auth-failed" else "Login refused"),
        ("client", "request", 7 + len(host), f"Request: CONNECT {target}"),
        ("proxy", "reply", 10, f"Reply: succeeded, bound {bound}" if bound else "Reply: connection refused"),
    ][: 6 if asked else 4]
    time, entries = start + steps[0], []
    for place, (sender, kind, length, summary) in enumerate(frames):
        time += chance.randrange(20_000, 90_000) if place % 2 == 0 else steps[1 + place // 2]
        entries.append(FrameEntry(before + 4 + 2 * place, time, sender, kind, length, summary))
    end = time + (round(chance.lognormvariate(21, 1.5)) if outcome == "succeeded" else 300_000)
    first_byte = steps[4] if outcome == "succeeded" else None
    return Conversation(
        id=number,
        parent=None,
        capture="office.pcapng",
        protocol="socks5",
        client=client,
        proxy=proxy,
        reversed=False,
        start_ns=start,
        end_ns=end,
        phase="relay" if outcome == "succeeded" else "request" if asked else "authentication",
        outcome=outcome,
        methods=["no-authentication", "username-password"],
        method="username-password",
        username=user,
        password="********",
        authenticated=outcome != "auth-failed",
        command="connect" if asked else None,
        destination=target,
        reply=ReplyCode(0, "succeeded") if outcome == "succeeded" else _REFUSED if asked else None,
        bound=bound,
        peer_reply=None,
        peer=None,
        tunnel=Tunnel("tls", host, ["h2", "http/1.1"], None) if outcome == "succeeded" else None,
        bytes=Traffic(chance.randrange(500, 5000), chance.randrange(2000, 300_000)) if first_byte else None,
        udp=None,
        timing=Timing(
            steps[0] / 1e9,
            (entries[1].time_ns - entries[0].time_ns) / 1e9,
            (entries[3].time_ns - entries[2].time_ns) / 1e9,
            (entries[5].time_ns - entries[4].time_ns) / 1e9 if asked else None,
            None if first_byte is None else first_byte / 1e9,
        ),
        close="fin",
        closed_by=chance.choice(("client", "proxy")),
        packets=chance.randrange(12, 60),
        tcp_stream=number - 1,
        community_id=community_id(client, proxy),
        name_resolution="remote" if asked else None,
        first_frame=before + 1,
        last_frame=before + 400,
        frames=entries,
        anomalies=[AnomalyEntry("cleartext-credentials", "warning", before + 8, "the password crossed in clear")],
    )
