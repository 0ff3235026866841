"""NumPy arrays there and back, without a copy more than needed. Needs NumPy.

Usage::

    python examples/arrays.py [HOST:PORT]

Both parts are in this one process, to be easy to try; they may as well be on two machines.
"""

import os
import sys

import numpy as np

from easyremote import Client, ComputeNode

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EASYREMOTE_GATEWAY", "127.0.0.1:8080")

node = ComputeNode(ADDRESS)


@node.register
def brighten(picture: np.ndarray, factor: float = 1.5) -> np.ndarray:
    """Make a picture brighter; pixels are bytes."""
    brighter: np.ndarray = np.clip(picture * factor, 0, 255).astype(np.uint8)
    return brighter


@node.register
def fit_line(table: dict[str, np.ndarray]) -> tuple[float, float]:
    """The slope and offset of the line through the points."""
    slope, offset = np.polyfit(table["x"], table["y"], 1)
    return float(slope), float(offset)


node.serve(blocking=False)
if not node.wait_for_connection(timeout=10):
    sys.exit(f"No gateway at {ADDRESS}. Start one with: easynet gateway")

with Client(ADDRESS) as client:
    picture: np.ndarray = np.arange(1920 * 1080 * 3, dtype=np.uint8).reshape(1080, 1920, 3)
    brighter = client.execute("brighten", picture, factor=2.0)
    print(f"{picture.nbytes:,} bytes there and {brighter.nbytes:,} back: {brighter.dtype} {brighter.shape}")

    x = np.linspace(0, 10, 200)
    slope, offset = client.execute("fit_line", {"x": x, "y": 3 * x + 4})
    print(f"y = {slope:.3f} x + {offset:.3f}")

node.stop()
