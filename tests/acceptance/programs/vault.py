"""A node with a function that nobody lists, whose very name is a secret of the environment."""

import os

from acceptance.programs import ready

from easyremote import ComputeNode

node = ComputeNode(os.environ["GATEWAY"], os.environ["NODE"])


def swap(value):
    return [os.environ["ANSWER"], len(value)]


def items(value):
    yield os.environ["ANSWER"]
    raise ValueError(os.environ["COMPLAINT"])


node.register(swap, name=os.environ["SECRET_NAME"], listed=False)
node.register(items, name=os.environ["SECRET_NAME"] + "_items", listed=False)

ready.serve(node)
