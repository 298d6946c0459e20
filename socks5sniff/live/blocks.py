"""Blocks of frames as the kernel's ring has them (TPACKET_V3), and the columns they become.

A block begins with its status, how many frames it holds and where the first one is; each frame has a header with its
times and lengths, and says where the next one starts. Everything here is in this machine's byte order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..capture.batch import FrameBatch
from .engine import LINK_ETHERNET, LINK_SLL2

STATUS_AT = 8
"""Where a block's header (struct tpacket_block_desc) has its status, behind it the number of frames and the first."""
USER = 1
"""Bit of the status: the block is ours, not the kernel's."""

_OUTGOING = 4
_VLAN_VALID, _TPID_VALID = 1 << 4, 1 << 6
_FEW = 64
"""Frames of a block that are found as quickly one by one."""

_HEADER = np.dtype(
    {
        "names": [
            "next", "second", "nanosecond", "captured", "length", "status", "mac", "net", "vlan", "tpid",
            "protocol", "index", "hardware", "packet_type", "address_length", "address",
        ],
        "formats": [
            "u4", "u4", "u4", "u4", "u4", "u4", "u2", "u2", "u4", "u2",
            ">u2", "u4", "u2", "u1", "u1", "u8",
        ],
        "offsets": [0, 4, 8, 12, 16, 20, 24, 26, 32, 36, 50, 52, 56, 58, 59, 60],
        "itemsize": 68,
    }
)  # fmt: skip
"""struct tpacket3_hdr (48 octets) and the struct sockaddr_ll behind it."""

_SLL2 = np.dtype(
    [
        ("protocol", ">u2"), ("reserved", ">u2"), ("index", ">u4"), ("hardware", ">u2"), ("packet_type", "u1"),
        ("address_length", "u1"), ("address", "u8"),
    ]
)  # fmt: skip
"""https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html"""


@dataclass(slots=True)
class Blocks:
    """The memory of a ring, and what its frames are.

    Attributes:
        octets: the memory.
        link_type: LINKTYPE_ value of the frames; SLL2 where the kernel gives them without link layer.
        twice: frames that go out come in again, and are taken once: all of them (True), none (False), or those of
            the interface with this index.
    """

    octets: NDArray[np.uint8]
    link_type: int
    twice: int | bool = False

    def status(self, block: int) -> int:
        """Status of the block that starts at `block`."""
        found: int = struct.unpack_from("I", self.octets.data, block + STATUS_AT)[0]
        return found

    def starts(self, block: int, size: int) -> NDArray[np.int64]:
        """Where the frames of a block start.

        Places that look like headers are found all at once, and nothing is believed but this: the first frame is
        where the block says, each next one where the one before says, and there are as many as the block says.
        Blocks of few frames, and those whose payload looks like headers, are walked.
        """
        memory = self.octets.data
        _, count, first, used = struct.unpack_from("4I", memory, block + STATUS_AT)
        words = self.octets[block : block + min(used, size) // 8 * 8].view(np.uint32)  # older frames lie behind
        if count > _FEW:
            mark = words[first // 4 + 6]  # where link and network header start: the same in all frames
            places = np.flatnonzero(words[first // 4 + 6 :: 2] == mark)
            if len(places) == count:
                places *= 2
                places += first // 4
                if (words[places[:-1]] == np.diff(places) * 4).all() and places[0] == first // 4:
                    return places * 4 + block
        starts = []
        at = block + first
        for _ in range(count):
            starts.append(at)
            at += struct.unpack_from("I", memory, at)[0]
        return np.array(starts, np.int64)

    def batch(self, starts: NDArray[np.int64]) -> FrameBatch | None:
        """The frames that start at `starts`; None where all of them are left out."""
        header = self._headers(starts)
        if self.twice:
            keep = header["packet_type"] != _OUTGOING
            if self.twice is not True:
                keep |= header["index"] != self.twice
            starts, header = starts[keep], header[keep]
        if not len(starts):
            return None
        offset = starts + header["mac"]
        captured = header["captured"].astype(np.int64)
        length = header["length"].astype(np.int64)
        if self.link_type == LINK_SLL2:
            offset -= _SLL2.itemsize
            captured += _SLL2.itemsize
            length += _SLL2.itemsize
            self._write_sll2(offset, header)
        elif self.link_type == LINK_ETHERNET:
            tagged = np.flatnonzero(header["status"] & _VLAN_VALID)
            if len(tagged):
                offset[tagged] -= 4
                captured[tagged] += 4
                length[tagged] += 4
                self._write_tags(offset[tagged], header[tagged])
        time = header["second"].astype(np.int64)
        time *= 1_000_000_000
        time += header["nanosecond"]
        return FrameBatch(
            octets=self.octets,
            offset=offset,
            captured=captured,
            length=np.maximum(length, captured),
            time=time,
            first_number=1,
            interface=np.zeros(len(starts), np.uint16),
            interfaces=[],
        )

    def _headers(self, starts: NDArray[np.int64]) -> NDArray[np.void]:
        everywhere: NDArray[np.void] = np.ndarray(
            (len(self.octets) // 8 - 8,), np.dtype((np.void, _HEADER.itemsize)), self.octets, 0, (8,)
        )
        return everywhere[starts // 8].view(_HEADER)

    def _write_sll2(self, offset: NDArray[np.int64], header: NDArray[np.void]) -> None:
        """The kernel leaves 28 octets between its own header and a frame without link layer."""
        cooked = np.zeros(len(offset), _SLL2)
        for name in ("protocol", "index", "hardware", "packet_type", "address_length", "address"):
            cooked[name] = header[name]
        self.octets[offset[:, None] + np.arange(_SLL2.itemsize)] = cooked.view(np.uint8).reshape(len(offset), -1)

    def _write_tags(self, offset: NDArray[np.int64], header: NDArray[np.void]) -> None:
        """The addresses move four octets to the front (the kernel leaves 14), and the tag comes behind them."""
        addresses = offset[:, None] + np.arange(12)
        self.octets[addresses] = self.octets[addresses + 4]
        tag = np.empty((len(offset), 2), ">u2")
        tag[:, 0] = np.where(header["status"] & _TPID_VALID, header["tpid"], 0x8100)
        tag[:, 1] = header["vlan"]
        self.octets[offset[:, None] + np.arange(12, 16)] = tag.view(np.uint8).reshape(len(offset), 4)
