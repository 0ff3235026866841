"""What node programs share: serve until Ctrl-C, and say so once connected."""

import threading

from easyremote import ComputeNode


def serve(node: ComputeNode) -> None:
    def announce() -> None:
        if node.wait_for_connection(30):
            print("serving", flush=True)

    threading.Thread(target=announce, daemon=True).start()
    node.serve()
