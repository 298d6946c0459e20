"""The figures of the manual's page on speed are those that were measured."""

from __future__ import annotations

import json

from . import manual


def test_the_page_has_what_was_measured() -> None:
    measured = json.loads(manual.MEASURED.read_text(encoding="utf-8"))
    text = manual.PAGE.read_text(encoding="utf-8")
    assert manual.table(measured) in text
    assert manual.startup(measured) in text
    assert manual.page(text, measured) == text


def test_a_page_takes_other_figures() -> None:
    measured = json.loads(manual.MEASURED.read_text(encoding="utf-8"))
    for costs in measured.values():
        for cost in costs.values():
            cost["wall"] *= 3
    changed = manual.page(manual.PAGE.read_text(encoding="utf-8"), measured)
    assert manual.startup(measured) in changed
    assert changed.splitlines()[0] == "# Speed"
