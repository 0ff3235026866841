"""A client that calls one function with the arguments given, and waits."""

import sys

from easyremote import Client

with Client(sys.argv[1]) as client:
    if sys.argv[2] == "stream":
        for item in client.stream(*sys.argv[3:]):
            print(item, flush=True)
    else:
        print(client.execute(*sys.argv[3:]), flush=True)
