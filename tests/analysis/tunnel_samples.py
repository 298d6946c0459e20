"""First octets of every protocol that a tunnel is named after, and what they are to be called.

Where a real program's library makes the octets without a network (TLS, QUIC, MTProto), it does.
"""

from __future__ import annotations

import contextlib
import ssl
from hashlib import sha256
from typing import NamedTuple

from socks5sniff.record import Tunnel

TEXT = "PROXY v1 from 192.0.2.1:5555 to 192.0.2.2:443"


class Sample(NamedTuple):
    """A tunnel's first octets, what they are called, and the destination's port."""

    client: bytes
    server: bytes
    tunnel: Tunnel
    port: int | None = 4242


def client_hello(name: str | None = "www.example.com", alpn: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    """A ClientHello of Python's own TLS library."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def hello(
    extensions: list[tuple[int, bytes]], ciphers: tuple[int, ...] = (0x1301, 0x1302), version: int = 0x0303
) -> bytes:
    """A ClientHello message with these extensions, in a record."""
    body = version.to_bytes(2, "big") + bytes(32) + b"\0" + len(ciphers * 2).to_bytes(2, "big")
    body += b"".join(cipher.to_bytes(2, "big") for cipher in ciphers) + b"\1\0"
    listed = b"".join(kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for kind, data in extensions)
    body += len(listed).to_bytes(2, "big") + listed
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return in_records(message, len(message))


def in_records(message: bytes, size: int) -> bytes:
    """A handshake message in records of `size` octets."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def server_name(name: bytes) -> tuple[int, bytes]:
    entry = b"\0" + len(name).to_bytes(2, "big") + name
    return 0, len(entry).to_bytes(2, "big") + entry


def supported(*versions: int) -> tuple[int, bytes]:
    octets = b"".join(version.to_bytes(2, "big") for version in versions)
    return 43, bytes([len(octets)]) + octets


def obfuscated(mark: bytes, begins: bytes = b"") -> bytes:
    """The first octets of MTProto's obfuscated transport around a plain one: the key lies open in them.

    Up to 56 octets they may begin with anything.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    head = sha256(b"head").digest() + sha256(b"tail").digest()
    head = begins + head[len(begins) :]
    head = head[:56] + mark + head[60:]
    cipher = Cipher(algorithms.AES(head[8:40]), modes.CTR(head[40:56])).encryptor()
    return head[:56] + cipher.update(head)[56:]


PLAIN_HELLO = hello([server_name(b"a.test")])
PROXY_V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 5555 443\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY_V2 = SIGNATURE + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 1, 192, 0, 2, 2, 0x15, 0xB3, 1, 0xBB])
PROXY_V2_IPV6 = SIGNATURE + b"\x21\x21\0\x24" + bytes(15) + b"\1" + bytes(15) + b"\2" + b"\0\1\0\2"
QUERY = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\3www\7example\0\0\1\0\1"
ANSWER = b"\x12\x34\x81\x80\0\1\0\2\0\0\0\0" + QUERY[12:] + (b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\xc0\0\2\1") * 2
MYSQL = b"\x4a\0\0\0\x0a8.0.36\0" + bytes(60)
REQUEST = b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n"

SAMPLES: dict[str, Sample] = {
    "tls": Sample(PLAIN_HELLO, b"", Tunnel("tls", "a.test", None, "TLS 1.2, JA4 t12d020100_62ed6f6ca7ad_000000000000")),
    "tls 1.3 by supported_versions": Sample(
        hello([supported(0x2A2A, 0x0304, 0x0303)]),
        b"",
        Tunnel("tls", None, None, f"TLS 1.3, JA4 t13i020100_62ed6f6ca7ad_{sha256(b'002b').hexdigest()[:12]}"),
    ),
    "tls over two records": Sample(
        in_records(PLAIN_HELLO[5:], 40),
        b"\x15\x03\x01\0\2\2\x28",
        Tunnel("tls", "a.test", None, "TLS 1.2, JA4 t12d020100_62ed6f6ca7ad_000000000000"),
    ),
    "http": Sample(REQUEST, b"HTTP/1.1 200 OK\r\n\r\n", Tunnel("http", "example.com", None, "GET /a HTTP/1.1: 200 OK")),
    "http without Host": Sample(
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\n\r\n",
        Tunnel("http", None, None, "HEAD / HTTP/1.0: 404 Not Found"),
    ),
    "http answered with something else": Sample(
        b"CONNECT a:1 HTTP/1.1\r\nhost:\ta:1 \r\n\r\n", b"what?", Tunnel("http", "a:1", None, "CONNECT a:1 HTTP/1.1")
    ),
    "http, the server alone": Sample(
        b"", b"HTTP/1.1 408 Request Timeout\r\n", Tunnel("http", detail="HTTP/1.1 408 Request Timeout")
    ),
    "http/2": Sample(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", Tunnel("http", detail="HTTP/2")),
    "ssh": Sample(
        b"SSH-2.0-PuTTY\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        Tunnel("ssh", detail="SSH-2.0-PuTTY, server SSH-2.0-OpenSSH_9.2"),
    ),
    "ssh with a greeting": Sample(
        b"SSH-2.0-PuTTY\r\n", b"Welcome\r\nSSH-2.0-x\r\n", Tunnel("ssh", detail="SSH-2.0-PuTTY, server SSH-2.0-x")
    ),
    "ssh, the server alone": Sample(b"", b"SSH-2.0-OpenSSH_9.2\r\n", Tunnel("ssh", detail="SSH-2.0-OpenSSH_9.2")),
    "ssh to something else": Sample(b"SSH-2.0-x\r\n", b"HTTP/1.1 400 Bad\r\n\r\n", Tunnel("ssh", detail="SSH-2.0-x")),
    "socks5": Sample(b"\5\2\0\2\5\1\0\1\1\2\3\4\0\x50", b"\5\0", Tunnel("socks5")),
    "socks5 with a login": Sample(b"\5\1\2\1\1a\1b", b"\5\2", Tunnel("socks5")),
    "socks5 with sixteen methods": Sample(b"\5\x10\x09" + bytes(range(0x80, 0x8F)) + b"\5\1", b"", Tunnel("socks5")),
    "socks4 with the longest user id": Sample(b"\4\2\0\x50\1\2\3\4" + b"m" * 255 + b"\0", b"", Tunnel("socks4")),
    "socks4": Sample(b"\4\1\0\x50\1\2\3\4me\0", b"\0\x5a\0\0\0\0\0\0", Tunnel("socks4")),
    "bittorrent": Sample(b"\x13BitTorrent protocol" + bytes(8), b"", Tunnel("bittorrent")),
    "rdp": Sample(bytes.fromhex("030000130ee000000000000100080003000000"), b"", Tunnel("rdp")),
    "rdp with a cookie": Sample(
        b"\3\0\0\x2a\x25\xe0\0\0\0\0\0Cookie: mstshash=eltons\r\n\1\0",
        b"",
        Tunnel("rdp", detail="Cookie: mstshash=eltons"),
    ),
    "smb 1": Sample(b"\0\0\0\x55\xffSMBr", b"", Tunnel("smb")),
    "smb 2": Sample(b"\0\0\0\x55\xfeSMB@", b"", Tunnel("smb")),
    "mqtt": Sample(b"\x10\x10\0\4MQTT\4\2", b"", Tunnel("mqtt")),
    "mqtt 3.1, a long packet": Sample(b"\x10\x80\x80\1\0\6MQIsdp\3", b"", Tunnel("mqtt")),
    "postgresql": Sample(b"\0\0\0\x29\0\3\0\0user\0", b"", Tunnel("postgresql")),
    "postgresql asking for TLS": Sample(b"\0\0\0\x08\x04\xd2\x16\x2f", b"S", Tunnel("postgresql")),
    "postgresql asking for GSSAPI": Sample(b"\0\0\0\x08\x04\xd2\x16\x30", b"N", Tunnel("postgresql")),
    "redis": Sample(b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n", Tunnel("redis")),
    "xmpp": Sample(b"<?xml version='1.0'?><stream:stream xmlns='jabber:client'>", b"", Tunnel("xmpp")),
    "xmpp without a declaration": Sample(b"<stream:stream xmlns='jabber:server'>", b"", Tunnel("xmpp")),
    "irc": Sample(b"NICK bob\r\nUSER bob\r\n", b"", Tunnel("irc", detail="NICK bob")),
    "irc with capabilities": Sample(b"CAP LS 302\r\n", b"", Tunnel("irc", detail="CAP LS 302")),
    "irc with a password": Sample(b"PASS secret\r\nNICK bob\r\n", b"", Tunnel("irc")),
    "smtp": Sample(b"EHLO me.test\r\n", b"220 mx.test ESMTP\r\n", Tunnel("smtp", detail="220 mx.test ESMTP")),
    "smtp, greeted by something odd": Sample(b"helo me\r\n", b"421 no\r\n", Tunnel("smtp", detail="helo me")),
    "lmtp": Sample(b"LHLO me.test\r\n", b"220 box\r\n", Tunnel("smtp", detail="220 box")),
    "smtp by its greeting": Sample(
        b"QUIT\r\n", b"220 mx.test Sendmail ready\r\n", Tunnel("smtp", detail="220 mx.test Sendmail ready")
    ),
    "smtp by its port": Sample(b"NOOP\r\n", b"220 hello\r\n", Tunnel("smtp", detail="220 hello"), 25),
    "ftp": Sample(b"USER anonymous\r\n", b"220 ready\r\n", Tunnel("ftp", detail="220 ready")),
    "ftp with TLS": Sample(b"AUTH TLS\r\n", b"220-hello\r\n220 ready\r\n", Tunnel("ftp", detail="220-hello")),
    "ftp by its greeting": Sample(b"", b"220 ProFTPD Server\r\n", Tunnel("ftp", detail="220 ProFTPD Server")),
    "ftp by its port": Sample(b"NOOP\r\n", b"220 hello\r\n", Tunnel("ftp", detail="220 hello"), 21),
    "imap": Sample(b"a1 LOGIN me x\r\n", b"* OK IMAP4rev1\r\n", Tunnel("imap", detail="* OK IMAP4rev1")),
    "imap, known already": Sample(b"", b"* PREAUTH hello\r\n", Tunnel("imap", detail="* PREAUTH hello")),
    "imap, not welcome": Sample(b"", b"* BYE too many\r\n", Tunnel("imap", detail="* BYE too many")),
    "pop3": Sample(b"APOP me\r\n", b"+OK ready\r\n", Tunnel("pop3", detail="+OK ready")),
    "vnc": Sample(b"RFB 003.008\n", b"RFB 003.008\n", Tunnel("vnc", detail="RFB 003.008")),
    "mysql": Sample(b"\x20\0\0\1" + bytes(32), MYSQL, Tunnel("mysql", detail="8.0.36")),
    "dns over tcp": Sample(b"\0\x1d" + QUERY, b"", Tunnel("dns", detail="A www.example"), 53),
    "dns over tcp, an odd query": Sample(b"\0\x0d\x12\x34\1\0\0\2" + bytes(7), b"", Tunnel("dns"), 53),
    "mtproto, intermediate": Sample(
        b"\xee\xee\xee\xee\x28\0\0\0" + bytes(40), b"", Tunnel("mtproto", detail="intermediate transport")
    ),
    "mtproto, padded": Sample(
        b"\xdd\xdd\xdd\xdd\x2b\0\0\0" + bytes(43), b"", Tunnel("mtproto", detail="padded intermediate transport")
    ),
    "mtproto, abridged": Sample(
        b"\xef\x0a" + bytes(8) + b"\1" * 32, b"", Tunnel("mtproto", detail="abridged transport")
    ),
    "mtproto, obfuscated": Sample(
        obfuscated(b"\xdd" * 4), b"", Tunnel("mtproto", detail="obfuscated padded intermediate transport")
    ),
    "mtproto, full": Sample(b"\x34\0\0\0" + bytes(12) + b"\1" * 36, b"", Tunnel("mtproto", detail="full transport")),
    "a PROXY header and http": Sample(
        PROXY_V1 + REQUEST,
        b"HTTP/1.1 200 OK\r\n",
        Tunnel("http", "example.com", None, f"{TEXT}; GET /a HTTP/1.1: 200 OK"),
    ),
    "a PROXY header and smb": Sample(PROXY_V1 + b"\0\0\0\x55\xfeSMB@", b"", Tunnel("smb", detail=TEXT)),
    "a PROXY header of UNKNOWN": Sample(b"PROXY UNKNOWN\r\n\0\0\0\x55\xfeSMB@", b"", Tunnel("smb", detail="PROXY v1")),
    "a binary PROXY header": Sample(
        PROXY_V2 + b"SSH-2.0-x\r\n", b"", Tunnel("ssh", detail=f"{TEXT.replace('v1', 'v2')}; SSH-2.0-x")
    ),
    "a binary PROXY header, IPv6": Sample(
        PROXY_V2_IPV6 + b"\x13BitTorrent protocol", b"", Tunnel("bittorrent", detail="PROXY v2 from [::1]:1 to [::2]:2")
    ),
    "a binary PROXY header of a health check": Sample(
        SIGNATURE + b"\x20\0\0\0", b"", Tunnel("proxy-protocol", detail="PROXY v2")
    ),
    "a PROXY header alone": Sample(PROXY_V1, b"", Tunnel("proxy-protocol", detail=TEXT)),
    "anything": Sample(b"hello there", b"hello", Tunnel("unknown")),
    "random octets": Sample(bytes(range(128, 228)), bytes(range(200, 256)), Tunnel("unknown")),
}

CUT_SHORT: dict[str, Sample] = {
    "tls, the record's header": Sample(b"\x16\x03\x01", b"", Tunnel("tls")),
    "tls, half a hello": Sample(PLAIN_HELLO[:30], b"", Tunnel("tls")),
    "tls, a hello without its last octet": Sample(
        hello([server_name(b"a.test"), supported(0x0304)])[:-1], b"", Tunnel("tls", "a.test")
    ),
    "http, half a method": Sample(b"GE", b"", Tunnel("unknown")),
    "http, half a line": Sample(b"GET /a", b"", Tunnel("http", detail="GET /a")),
    "http, half a head": Sample(b"GET / HTTP/1.1\r\nHost: a.te", b"", Tunnel("http", detail="GET / HTTP/1.1")),
    "http, half a head behind Host": Sample(
        b"GET / HTTP/1.1\r\nHost: a.test\r\nUs", b"", Tunnel("http", "a.test", None, "GET / HTTP/1.1")
    ),
    "http, half an answer": Sample(REQUEST, b"HTTP/1.1 50", Tunnel("http", "example.com", None, "GET /a HTTP/1.1: 50")),
    "http, half an answer alone": Sample(b"", b"HTTP/1.1 50", Tunnel("http", detail="HTTP/1.1 50")),
    "http/2, half a preface": Sample(b"PRI * HTTP/2.0", b"", Tunnel("unknown")),
    "ssh, half a banner": Sample(b"SSH-2.0-Op", b"", Tunnel("ssh", detail="SSH-2.0-Op")),
    "ssh, half a banner of the server": Sample(b"", b"SSH-2.", Tunnel("ssh", detail="SSH-2.")),
    "ssh, half of both": Sample(b"SSH-2.0-a", b"SSH-2.0-b", Tunnel("ssh", detail="SSH-2.0-a, server SSH-2.0-b")),
    "socks5, half a greeting": Sample(b"\5\2\0", b"", Tunnel("unknown")),
    "socks5, a greeting": Sample(b"\5\2\0\2", b"", Tunnel("socks5")),
    "socks4, no end of the user id": Sample(b"\4\1\0\x50\1\2\3\4me", b"", Tunnel("unknown")),
    "smb, half a mark": Sample(b"\0\0\0\x55\xfeSM", b"", Tunnel("unknown")),
    "smtp, half a greeting": Sample(b"", b"220 mx.test ESMT", Tunnel("unknown")),
    "smtp, half a greeting that tells": Sample(
        b"", b"220 mx.test ESMTP Po", Tunnel("smtp", detail="220 mx.test ESMTP Po")
    ),
    "smtp, half a command": Sample(b"EHLO", b"220 x\r\n", Tunnel("unknown")),
    "ftp, half a greeting": Sample(b"", b"220 FTP", Tunnel("ftp", detail="220 FTP")),
    "imap, half a greeting": Sample(b"", b"* OK", Tunnel("imap", detail="* OK")),
    "pop3, half a greeting": Sample(b"", b"+OK re", Tunnel("pop3", detail="+OK re")),
    "vnc, half a version": Sample(b"", b"RFB 003", Tunnel("vnc", detail="RFB 003")),
    "mysql, half a version": Sample(b"", MYSQL[:9], Tunnel("unknown")),
    "rdp, half a request": Sample(bytes.fromhex("030000130ee000000000"), b"", Tunnel("rdp")),
    "rdp, less": Sample(bytes.fromhex("030000130e"), b"", Tunnel("unknown")),
    "redis, half a command": Sample(b"*1\r\n$4", b"", Tunnel("unknown")),
    "xmpp, half a header": Sample(b"<?xml version='1.0'?>", b"", Tunnel("unknown")),
    "irc, half a line": Sample(b"NICK bo", b"", Tunnel("unknown")),
    "irc, half a line of capabilities": Sample(b"CAP LS 3", b"", Tunnel("irc", detail="CAP LS 3")),
    "dns over tcp, half a query": Sample(b"\0\x1d" + QUERY[:20], b"", Tunnel("dns"), 53),
    "dns over tcp, a header": Sample(b"\0\x1d" + QUERY[:12], b"", Tunnel("dns"), 53),
    "dns over tcp, less": Sample(b"\0\x1d" + QUERY[:11], b"", Tunnel("unknown"), 53),
    "mtproto, half a first message": Sample(
        b"\xef\x0a" + bytes(8), b"", Tunnel("mtproto", detail="abridged transport")
    ),
    "mtproto, full, less": Sample(b"\x34\0\0\0" + bytes(8), b"", Tunnel("unknown")),
    "a PROXY header, half": Sample(PROXY_V1[:20], b"", Tunnel("unknown")),
    "a binary PROXY header, half": Sample(PROXY_V2[:14], b"", Tunnel("unknown")),
    "a binary PROXY header without its addresses": Sample(
        PROXY_V2[:20], b"", Tunnel("proxy-protocol", detail="PROXY v2")
    ),
}

OTHERS: dict[str, Sample] = {
    "tls alert": Sample(b"\x15\x03\x01\0\2\2\x28", b"", Tunnel("unknown")),
    "a ServerHello from the client": Sample(b"\x16\x03\x01\0\x04\2\0\0\0", b"", Tunnel("unknown")),
    "a record of TLS 1.5": Sample(b"\x16\x03\x05\0\x04\1\0\0\0", b"", Tunnel("unknown")),
    "a verb in a sentence": Sample(b"GET me out of here\r\n", b"", Tunnel("unknown")),
    "a lower case verb": Sample(b"get / HTTP/1.1\r\n\r\n", b"", Tunnel("unknown")),
    "SSH without a dash": Sample(b"SSHD\r\n", b"", Tunnel("unknown")),
    "a greeting without methods": Sample(b"\5\0", b"", Tunnel("unknown")),
    "a greeting of a method twice": Sample(b"\5\2\0\0\5\1", b"", Tunnel("unknown")),
    "a greeting of the first unassigned method": Sample(b"\5\1\x0a\5\1", b"", Tunnel("unknown")),
    "a greeting of the last unassigned method": Sample(b"\5\1\x7f\5\1", b"", Tunnel("unknown")),
    "a greeting of 17 methods": Sample(b"\5\x11" + bytes(range(0x80, 0x91)) + b"\5\1", b"", Tunnel("unknown")),
    "a greeting and no request": Sample(b"\5\1\0\7", b"", Tunnel("unknown")),
    "SOCKS4's command 3": Sample(b"\4\3\0\x50\1\2\3\4me\0", b"", Tunnel("unknown")),
    "SOCKS4 with a book for a user id": Sample(b"\4\1\0\x50\1\2\3\4" + b"m" * 256 + b"\0", b"", Tunnel("unknown")),
    "SOCKS4's command 0": Sample(b"\4\0\0\x50\1\2\3\4me\0", b"", Tunnel("unknown")),
    "a TPKT of another kind": Sample(bytes.fromhex("0300001302f080"), b"", Tunnel("unknown")),
    "NetBIOS": Sample(b"\x81\0\0\x44 CKFDENECFDEFFCFGEFFCCACACACACACA", b"", Tunnel("unknown")),
    "SMB under another length": Sample(b"\0\1\0\x55\xfeSMB@", b"", Tunnel("unknown")),
    "MQTT without its name": Sample(b"\x10\x10\0\4MQTR\4\2", b"", Tunnel("unknown")),
    "MQTT with a length that does not end": Sample(b"\x10\x80\x80\x80\x80\x80\0\4MQTT", b"", Tunnel("unknown")),
    "a start-up message of version 2": Sample(b"\0\0\0\x29\0\2\0\0user\0", b"", Tunnel("unknown")),
    "a list that is no Redis": Sample(b"*1 item\r\n", b"", Tunnel("unknown")),
    "XML of another kind": Sample(b"<?xml version='1.0'?>" + b" " * 1024 + b"jabber", b"", Tunnel("unknown")),
    "NICK without a name": Sample(b"NICK \r\n", b"", Tunnel("unknown")),
    "NICK and a sentence": Sample(b"NICK is my name\r\n", b"", Tunnel("unknown")),
    "220 in a number": Sample(b"", b"2204 ready\r\n", Tunnel("unknown")),
    "220 of no one": Sample(b"NOOP\r\n", b"220 hello\r\n", Tunnel("unknown")),
    "a star": Sample(b"", b"* NO\r\n", Tunnel("unknown")),
    "a plus": Sample(b"", b"+NO\r\n", Tunnel("unknown")),
    "RFB of the future": Sample(b"", b"RFB 103.008\n", Tunnel("unknown")),
    "a MySQL version of other octets": Sample(b"", b"\x4a\0\0\0\x0a8.\xff\0" + bytes(60), Tunnel("unknown")),
    "a MySQL version without end": Sample(b"", b"\x4a\0\0\0\x0a" + b"8" * 60, Tunnel("unknown")),
    "a MySQL packet with no version": Sample(b"", b"\x4a\0\0\0\x0a\0" + bytes(60), Tunnel("unknown")),
    "a query to another port": Sample(b"\0\x1d" + QUERY, b"", Tunnel("unknown"), 5353),
    "an answer from the client": Sample(b"\0\x1d" + ANSWER, b"", Tunnel("unknown"), 53),
    "a short message to port 53": Sample(b"\0\x0b" + QUERY, b"", Tunnel("unknown"), 53),
    "an abridged message with a key": Sample(b"\xef\x0a" + b"\1" * 60, b"", Tunnel("unknown")),
    "a full message with a number": Sample(b"\x34\0\0\0\1" + bytes(60), b"", Tunnel("unknown")),
    "a full message of an odd length": Sample(b"\x35\0\0\0" + bytes(60), b"", Tunnel("unknown")),
    "PROXY and a word": Sample(b"PROXY me\r\n", b"", Tunnel("unknown")),
    "PROXY and no addresses": Sample(b"PROXY TCP4 a b 1 2\r\n", b"", Tunnel("unknown")),
    "PROXY without end": Sample(b"PROXY TCP4 " + b"1" * 100, b"", Tunnel("unknown")),
    "a binary PROXY header of version 1": Sample(SIGNATURE + b"\x11\x11\0\x0c" + bytes(12), b"", Tunnel("unknown")),
}
