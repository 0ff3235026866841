"""The first program, three of three: a client, anywhere.

Usage::

    python examples/first/client.py [HOST:PORT]
"""

import os
import sys

from easyremote import Client

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EASYREMOTE_GATEWAY", "127.0.0.1:8080")

result = Client(ADDRESS).execute("ai_inference", "Hello AI")
print(result)
