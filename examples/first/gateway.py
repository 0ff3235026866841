"""The first program, one of three: the gateway, which introduces devices and carries what they say.

Usage::

    python examples/first/gateway.py [HOST:PORT]
"""

import os
import sys

from easyremote import Server

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EASYREMOTE_GATEWAY", "127.0.0.1:8080")

Server(port=int(ADDRESS.rpartition(":")[2])).start()
