"""How tests run the command ``easynet``: as a process, by the Python that runs the tests."""

from __future__ import annotations

import sys


def easynet(*words: str) -> list[str]:
    return [sys.executable, "-m", "easyremote", *words]
