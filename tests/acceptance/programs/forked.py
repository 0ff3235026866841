"""A client before and after a fork. Arguments: the address, and whether the parent calls before it forks."""

import multiprocessing
import sys

from easyremote import Client
from easyremote.errors import EasyRemoteError

client = Client(sys.argv[1])
if sys.argv[2] == "connected":
    assert client.execute("add", 1, 2) == 3


def call_in_child(answers):
    try:
        answers.put(client.execute("add", 3, 4))
    except EasyRemoteError as error:
        answers.put(str(error))


fork = multiprocessing.get_context("fork")
queue = fork.Queue()
child = fork.Process(target=call_in_child, args=(queue,), daemon=True)
child.start()
print("child:", queue.get(timeout=8), flush=True)
child.join()
print("parent:", client.execute("add", 1, 2), flush=True)
