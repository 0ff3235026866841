"""A node as programs for easyremote 2.0.2 are written, with all the options they had."""

import os

from easyremote import ComputeNode

node = ComputeNode(
    gateway_address=os.environ["GATEWAY"],
    node_id=os.environ["NODE"],
    node_capabilities=["camera", "gpu"],
)


@node.register
def add_numbers(a, b):
    return a + b


@node.register(
    name="describe",
    description="Describe a picture",
    tags={"vision", "text"},
    version="1.2.0",
    timeout_seconds=30,
    load_balancing=True,
    max_concurrent=5,
    priority=5,
    enable_caching=True,
    cache_ttl_seconds=None,
    resource_requirements=None,
    replace=False,
)
def describe_picture(path: str, detail: int = 1) -> dict:
    return {"path": path, "detail": detail}


@node.register(load_balancing={"strategy": "resource_aware", "requirements": {"cpu": 1}})
def heavy(n: int) -> int:
    return n * n


@node.register(load_balancing="smart_adaptive")
def tokens(text: str):
    yield from text.split()


def extra():
    return "extra"


assert node.register(extra) is extra

if os.environ.get("BLOCKING") == "no":
    node.serve(blocking=False)
    assert node.wait_for_connection(timeout=20)
    print("serving", flush=True)
    node.unregister("extra")
    input()
    node.stop()
else:
    import threading

    threading.Thread(
        target=lambda: node.wait_for_connection(timeout=20) and print("serving", flush=True), daemon=True
    ).start()
    node.serve()
