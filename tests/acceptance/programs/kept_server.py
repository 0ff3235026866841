"""A gateway as programs for easyremote 2.0.2 start one. Arguments: the port."""

import sys

from easyremote import Server

server = Server(
    port=int(sys.argv[1]),
    heartbeat_timeout_seconds=5.0,
    max_queue_size=5000,
    max_workers=20,
    enable_monitoring=True,
    enable_analytics=True,
    enable_security=False,
    cleanup_interval_seconds=300.0,
    log_level="info",
)
server.start()
