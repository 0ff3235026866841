"""A gateway that says where it listens, until Ctrl-C. Its only argument: Server's options as JSON."""

import json
import sys
import threading

from easyremote import Server

with Server(**json.loads(sys.argv[1])) as server:
    print("listening on", server.address, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("stopping", flush=True)
