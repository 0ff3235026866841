"""What ``easynet doctor`` finds."""

from __future__ import annotations

import msgspec

from easyremote.cli.exits import Exit

__all__ = ["Finding"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found.

    Attributes:
        check: What was looked at.
        state: ``ok``; ``note``, which is no fault; or ``wrong``.
        found: What was found.
        remedy: What to do about it.
        exit: The code the command ends with if this is the first thing wrong.
    """

    check: str
    state: str
    found: str
    remedy: str = ""
    exit: Exit = Exit.RAISED
