"""A gateway that says where it listens, until Ctrl-C. Its only argument: Server's options as JSON."""

import json
import sys
import threading

from easyremote import MailboxLimits, Server
from easyremote.protocol.limits import Limits
from easyremote.trace import announce

options = json.loads(sys.argv[1])
if "limits" in options:
    options["limits"] = Limits(**options["limits"])
if options.get("mailbox") is not None:
    options["mailbox"] = MailboxLimits(**options["mailbox"])
if options.pop("talk", False):
    announce(verbose=False)
with Server(**options) as server:
    print("listening on", server.address, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("stopping", flush=True)
