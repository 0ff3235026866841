"""Lengths of time as people write them: ``90s``, ``30m``, ``1h``, ``7d``."""

from __future__ import annotations

import re

from easyremote.errors import UsageError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365 * 86400.0}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdwy])")


def seconds_of(text: str) -> float:
    """The seconds in a length of time.

    Raises:
        UsageError: It is none, or none above 0.
    """
    found = _LENGTH.fullmatch(text.strip().lower())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0.0 < seconds <= 100 * _UNITS["y"]:
        raise UsageError(f"a length of time is a number and a unit, such as 90s, 30m, 1h or 7d, not {text!r}")
    return seconds
