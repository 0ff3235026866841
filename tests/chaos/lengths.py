"""How long things take in these tests: a few seconds in every run, and as in life when CHAOS is ``full``."""

from __future__ import annotations

import os
import threading

FULL = os.environ.get("CHAOS") == "full"
SCALE = 1.0 if FULL else 0.2
LEASE_SECONDS = 10.0 * SCALE
LOST_AFTER_SECONDS = 60.0 * SCALE
ROUNDS = range(20) if FULL else range(1)
"""How often what is drawn by chance is tried."""
CALLS = 1000


def pass_time(seconds: float) -> None:
    """Let so many seconds go by, in which what is broken stays broken."""
    threading.Event().wait(seconds)
