"""What speaks for and against SOCKS in one conversation, and the verdict. The rules are in `detection`."""

from __future__ import annotations

from typing import NamedTuple

from .detection import Weight, weigh
from .facts import Verdict
from .states import PROXY
from .steps import Step


class Setting(NamedTuple):
    """What is known of a connection before its octets are. See `Session`."""

    trusted: bool = False
    loopback: bool = False
    addresses: tuple[str, str] | None = None
    midstream: bool = False


class Evidence:
    """The verdict on one conversation, and what it will depend on.

    Attributes:
        setting: what is known from outside.
        verdict: once it is not UNDECIDED, frames are weighed no more.
        foreign: on a trusted port, what the other protocol is.
        doubtful: a frame alone does not settle it any more; see `detection`.
        fits: it is SOCKS, unless octets that have already come contradict.
        gap: octets of the handshake are missing.
        joined: the dialogue was joined after its greeting.
        first_frame: number of the first packet with octets; 0 before.
    """

    __slots__ = ("doubtful", "first_frame", "fits", "foreign", "gap", "joined", "setting", "verdict")

    def __init__(self, setting: Setting, verdict: Verdict = Verdict.UNDECIDED) -> None:
        self.setting = setting
        self.verdict = verdict
        self.foreign: str | None = None
        self.doubtful = False
        self.fits = False
        self.gap = False
        self.joined = False
        self.first_frame = 0

    def add(self, step: Step, methods: bytes | None, plain: bool, damaged: bool) -> bool:
        """Weigh one more frame; False when it shows that this is not SOCKS.

        Args:
            methods: those offered, for the choice of one; None when that was not seen whole.
            plain: nothing before it was doubtful, or this frame settles such doubts.
            damaged: octets of the frame are missing.
        """
        trusted = self.setting.trusted
        weight = weigh(step, not plain, trusted, methods)
        if weight is Weight.FOREIGN:
            return False
        if weight is Weight.DOUBTFUL or damaged:
            self.doubtful = True
        elif weight is Weight.FITS:
            self.fits = True
            if trusted and step.role == PROXY:
                # Where SOCKS is expected an answer settles it, whatever the client has sent behind its greeting.
                self.verdict = Verdict.SOCKS
        return True

    def settle(self) -> None:
        """All octets that have come were looked at: what fits was not contradicted."""
        if self.fits and self.verdict is Verdict.UNDECIDED:
            self.verdict = Verdict.SOCKS

    def refute(self, name: str | None) -> str | None:
        """It is not SOCKS, but the protocol `name`; gives what there is to say of it, None where nobody expected SOCKS.

        Behind a gap or in midstream the octets may be those of a tunnel: no protocol is named then.
        """
        self.verdict = Verdict.FOREIGN
        self.fits = False
        if not self.setting.trusted or self.gap or self.setting.midstream:
            return None
        self.foreign = name or "unknown"
        return f"{name or 'unknown protocol'} on a SOCKS port"
