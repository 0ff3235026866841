"""Submits durable calls until it is killed, and says of each its id and what it is to return."""

import random
import sys

from easyremote import Client

address, ledger, seed = sys.argv[1], sys.argv[2], sys.argv[3]
chance = random.Random(seed)
client = Client(address, lost_after=120)
number = 0
while True:
    number += 1
    function = chance.choice(["tally.once", "tally.often"])
    name = f"{function}-{seed}-{number}"
    size = chance.choice([0, 0, 0, 600_000])  # some are of several parts
    job = client.submit(function, ledger, name + "x" * size, chance.uniform(0.0, 0.2), durable=True)
    print(job.id, name, size, flush=True)
