"""The lab: scenes on simulated and real networks, scenarios, and the recorder of captures of known truth."""

from __future__ import annotations
