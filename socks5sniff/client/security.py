"""GSSAPI for SOCKS5 (RFC 1961): security contexts, and the encapsulation both ends speak once a level is agreed.

The `gssapi` package (the extra of that name) does the Kerberos. `ScriptedContext` stands in for it where there is no
realm: it gives tokens of Kerberos' shape, so that captures and tests can hold GSSAPI frames. It protects nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from socks5sniff.codec import Decoded, GssapiMessage, GssapiMessageType, NeedMore, ProtectionLevel, decode_gssapi
from socks5sniff.errors import MissingError, Socks5sniffError

MAX_ROUNDS = 16
"""Tokens one side may need to establish a context. Kerberos needs one, SPNEGO a few; the rest is a loop."""

NO_PROTECTION = 0
"""The level that RFC 1961 does not have and NEC's servers, Dante and curl do: after it everything crosses in clear."""

LARGEST_PLAINTEXT = 32_768
"""Octets wrapped at once: a token has a two-octet length, and wrapping adds less than a kilobyte."""


class SecurityError(Socks5sniffError):
    """The security context refused a token, or octets that should be protected are not."""


class SecurityContext(Protocol):
    """One end of a GSS-API security context (RFC 2743), as far as SOCKS needs it."""

    @property
    def complete(self) -> bool:
        """No further token is needed."""

    @property
    def peer(self) -> str | None:
        """Name of the authenticated initiator (acceptor's side), as text."""

    def step(self, token: bytes | None) -> bytes | None:
        """Take the peer's token (None: start), give the next one for it or None. Raises SecurityError."""

    def wrap(self, octets: bytes, confidential: bool) -> bytes:
        """Protect `octets`."""

    def unwrap(self, token: bytes) -> bytes:
        """The octets in a wrapped token. Raises SecurityError."""


ContextFactory = Callable[[], SecurityContext]


class KerberosContext:
    """A security context of the `gssapi` package.

    Args:
        service: the proxy's service name, `rcmd@proxy.example`, for the client's end; None for the proxy's end,
            which takes its key from the default keytab (`KRB5_KTNAME`).

    Raises:
        MissingError: the `gssapi` package is not installed.
        SecurityError: no keytab, or no such service.
    """

    def __init__(self, service: str | None = None) -> None:
        try:
            import gssapi
        except ImportError as error:
            raise MissingError("GSSAPI needs the gssapi package: pip install 'socks5sniff[gssapi]'") from error
        self._failure: type[Exception] = gssapi.exceptions.GSSError
        try:
            if service is None:
                # Named, since without them a missing keytab is noticed only when a client's token comes.
                creds = gssapi.Credentials(usage="accept")
                self._context: Any = gssapi.SecurityContext(creds=creds, usage="accept")
            else:
                name = gssapi.Name(service, gssapi.NameType.hostbased_service)
                self._context = gssapi.SecurityContext(name=name, usage="initiate")
        except self._failure as error:
            raise SecurityError(f"GSSAPI: {error}") from error
        # The package would give Kerberos' error token as if nothing had happened, and raise at the next look at it.
        self._context.__DEFER_STEP_ERRORS__ = False

    @property
    def complete(self) -> bool:
        return bool(self._context.complete)

    @property
    def peer(self) -> str | None:
        name = self._context.initiator_name
        return None if name is None else str(name)

    def step(self, token: bytes | None) -> bytes | None:
        try:
            answer = self._context.step(token)
        except self._failure as error:
            raise SecurityError(f"GSSAPI: {error}") from error
        return bytes(answer) if answer else None

    def wrap(self, octets: bytes, confidential: bool) -> bytes:
        try:
            return bytes(self._context.wrap(octets, confidential).message)
        except self._failure as error:
            raise SecurityError(f"GSSAPI: {error}") from error

    def unwrap(self, token: bytes) -> bytes:
        try:
            return bytes(self._context.unwrap(token).message)
        except self._failure as error:
            raise SecurityError(f"GSSAPI: {error}") from error


KERBEROS_OID = bytes.fromhex("06092a864886f712010202")
SEALED, ACCEPTOR = 0x02, 0x01
"""Flag bits of an RFC 4121 s4.2.2 wrap token."""


class ScriptedContext:
    """A context without a realm: one token each way in Kerberos' framing, then RFC 4121 wrap tokens.

    Args:
        acceptor: True for the proxy's end.
        principal: the name the proxy's end reports as the initiator's.
        refuse: the proxy's end rejects the first token.
    """

    def __init__(self, acceptor: bool, principal: str = "alice@EXAMPLE.TEST", refuse: bool = False) -> None:
        self.acceptor = acceptor
        self.principal = principal
        self.refuse = refuse
        self.complete = False
        self._sequence = 0

    @property
    def peer(self) -> str | None:
        return self.principal if self.acceptor and self.complete else None

    def step(self, token: bytes | None) -> bytes | None:
        if not self.acceptor and token is None:
            return self._token(b"\x01\x00", b"AP-REQ of " + self.principal.encode())
        if token is None or KERBEROS_OID not in token[:16] or self.refuse:
            raise SecurityError("GSSAPI: the token was refused")
        self.complete = True
        return self._token(b"\x02\x00", b"AP-REP") if self.acceptor else None

    def wrap(self, octets: bytes, confidential: bool) -> bytes:
        flags = (ACCEPTOR if self.acceptor else 0) | (SEALED if confidential else 0)
        self._sequence += 1
        # RFC 4121 s4.2.6.2: TOK_ID, flags, filler, EC (length of the checksum, unsealed), RRC, sequence number.
        checksum = b"" if confidential else b"\x5a" * 12
        header = struct.pack(">HBBHHQ", 0x0504, flags, 0xFF, len(checksum), 0, self._sequence)
        body = bytes(octet ^ 0xA5 for octet in octets) if confidential else octets
        return header + body + checksum

    def unwrap(self, token: bytes) -> bytes:
        if len(token) < 16 or token[:2] != b"\x05\x04":
            raise SecurityError("GSSAPI: not a wrap token")
        if token[2] & SEALED:
            return bytes(octet ^ 0xA5 for octet in token[16:])
        trailer = int.from_bytes(token[4:6], "big")
        if 16 + trailer > len(token):
            raise SecurityError("GSSAPI: a wrap token shorter than its checksum")
        return token[16 : len(token) - trailer]

    @staticmethod
    def _token(kind: bytes, body: bytes) -> bytes:
        # RFC 2743 s3.1: [APPLICATION 0], length (DER short form), mechanism, inner token.
        inner = KERBEROS_OID + kind + body
        return bytes((0x60, len(inner))) + inner


class Protection:
    """The encapsulation of RFC 1961 s5, one end of it: plain octets in, MTYP 3 frames out, and back."""

    def __init__(self, context: SecurityContext, level: int) -> None:
        self._context = context
        self._confidential = level == ProtectionLevel.CONFIDENTIALITY
        self._pending = bytearray()

    def seal(self, octets: bytes) -> bytes:
        """The frames that carry `octets`."""
        chunks = (octets[at : at + LARGEST_PLAINTEXT] for at in range(0, len(octets), LARGEST_PLAINTEXT))
        return b"".join(
            GssapiMessage(GssapiMessageType.USER_DATA, self._context.wrap(chunk, self._confidential)).encode()
            for chunk in chunks
        )

    def open(self, octets: bytes) -> bytes:
        """The plain octets of the frames that `octets` completes; an incomplete frame waits (at most 65,539 octets).

        Raises SecurityError where the octets are not such frames.
        """
        self._pending += octets
        return b"".join(self._frames())

    def _frames(self) -> Iterator[bytes]:
        while self._pending:
            result = decode_gssapi(self._pending)
            if isinstance(result, NeedMore):
                return
            if not isinstance(result, Decoded) or result.frame.message_type != GssapiMessageType.USER_DATA:
                raise SecurityError("GSSAPI: octets outside an encapsulated frame")
            del self._pending[: result.length]
            yield self._context.unwrap(result.frame.token)
