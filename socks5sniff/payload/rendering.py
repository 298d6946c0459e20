"""A conversation's octets as people read them: text, or a hex dump; and as they are."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import Protocol

from socks5sniff.codec.text import escape_text

from .chunks import UNKNOWN_LENGTH, Chunk, Datagram
from .streams import DIRECTIONS

MARKS = ("> ", "< ")
"""What lines of the client's octets begin with, and those of the destination's."""

_COLOURS = ("\x1b[31m", "\x1b[34m")
"""Wireshark's: the client's red, the destination's blue."""
_PLAIN = "\x1b[0m"
_ROW = 16
_Decoder = getincrementaldecoder("utf-8")


class Rendering(Protocol):
    """Takes octets in order, gives what to write; `finish` gives what is left."""

    def chunk(self, chunk: Chunk) -> Iterator[bytes]: ...
    def datagram(self, datagram: Datagram) -> Iterator[bytes]: ...
    def finish(self) -> Iterator[bytes]: ...


def gap_text(chunk: Chunk) -> str:
    """A gap in words."""
    whose = DIRECTIONS[chunk.direction]
    if chunk.length == UNKNOWN_LENGTH:
        return f"what the {whose} sends from offset {chunk.offset} on cannot be read in its GSSAPI tokens"
    octets = "1 octet" if chunk.length == 1 else f"{chunk.length:,} octets"
    verb = "is" if chunk.length == 1 else "are"
    return f"{octets} of the {whose} {verb} not in the capture, from offset {chunk.offset} on"


class Raw:
    """The octets, and nothing where there is a gap."""

    def chunk(self, chunk: Chunk) -> Iterator[bytes]:
        if chunk.octets is not None:
            yield bytes(chunk.octets)

    def datagram(self, datagram: Datagram) -> Iterator[bytes]:
        yield bytes(datagram.octets)

    def finish(self) -> Iterator[bytes]:
        yield from ()


class _Lines:
    """Lines with the mark and the colour of a direction."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def line(self, direction: int, text: str, mark: bool = True, end: bool = True) -> bytes:
        """A line, or a part of one."""
        text = f"{MARKS[direction] if mark else ''}{text}"
        if end and text == MARKS[direction]:
            text = text.rstrip()
        if self._colour and text:
            text = f"{_COLOURS[direction]}{text}{_PLAIN}"
        return (text + "\n" * end).encode("utf-8", "backslashreplace")

    def gap(self, chunk: Chunk) -> bytes:
        """The line of a gap."""
        return f"! {gap_text(chunk)}\n".encode()

    def heading(self, datagram: Datagram) -> bytes:
        """The line in front of a datagram."""
        way = "from" if datagram.direction else "to"
        host = escape_text(datagram.host)
        place = f"[{host}]:{datagram.port}" if ":" in host else f"{host}:{datagram.port}"
        fragment = f", fragment {datagram.fragment:#04x}" if datagram.fragment else ""
        cut = f", of which {len(datagram.octets):,} were captured" if len(datagram.octets) < datagram.length else ""
        return f"= {way} {place}, {datagram.length:,} octets{cut}{fragment}\n".encode()


class Text(_Lines):
    """UTF-8 with lines as they are; whatever does not print is escaped."""

    def __init__(self, colour: bool) -> None:
        super().__init__(colour)
        self._decoders = [_Decoder("backslashreplace"), _Decoder("backslashreplace")]
        self._direction = 0
        self._within = False
        """A line has begun and not ended."""

    def chunk(self, chunk: Chunk) -> Iterator[bytes]:
        """A chunk's text."""
        if chunk.octets is None:
            yield from self.finish()
            yield self.gap(chunk)
            return
        if chunk.direction != self._direction:
            yield from self.finish()
            self._direction = chunk.direction
        yield from self._text(self._decoders[chunk.direction].decode(chunk.octets))

    def datagram(self, datagram: Datagram) -> Iterator[bytes]:
        """A datagram's text, under a heading."""
        yield self.heading(datagram)
        self._direction = datagram.direction
        yield from self._text(self._decoders[datagram.direction].decode(datagram.octets))
        yield from self.finish()

    def finish(self) -> Iterator[bytes]:
        """End a line that has begun."""
        decoder = self._decoders[self._direction]
        yield from self._text(decoder.decode(b"", final=True))
        decoder.reset()
        if self._within:
            self._within = False
            yield b"\n"

    def _text(self, text: str) -> Iterator[bytes]:
        *lines, last = text.split("\n")
        for line in lines:
            shown = _printable(line.removesuffix("\r"))
            yield self.line(self._direction, shown, mark=not self._within)
            self._within = False
        if last:
            yield self.line(self._direction, _printable(last), mark=not self._within, end=False)
            self._within = True


class Hex(_Lines):
    """Offset, sixteen octets as hexadecimal numbers, and as ASCII."""

    def chunk(self, chunk: Chunk) -> Iterator[bytes]:
        """A chunk's lines; each chunk begins a line."""
        if chunk.octets is None:
            yield self.gap(chunk)
        else:
            yield from self._rows(chunk.direction, chunk.offset, bytes(chunk.octets))

    def datagram(self, datagram: Datagram) -> Iterator[bytes]:
        """A datagram's lines, under a heading."""
        yield self.heading(datagram)
        yield from self._rows(datagram.direction, 0, bytes(datagram.octets))

    def finish(self) -> Iterator[bytes]:
        """Nothing is left."""
        yield from ()

    def _rows(self, direction: int, offset: int, octets: bytes) -> Iterator[bytes]:
        for at in range(0, len(octets), _ROW):
            row = octets[at : at + _ROW]
            ascii_ = "".join(chr(octet) if 0x20 <= octet < 0x7F else "." for octet in row)
            yield self.line(direction, f"{offset + at:08x}  {row.hex(' '):<47}  {ascii_}")


def _printable(text: str) -> str:
    """Text that is safe on a terminal; tabs stay."""
    return "\t".join(map(escape_text, text.split("\t"))) if "\t" in text else escape_text(text)
