"""Submits durable calls of ``count``, says their ids, and ends at once, as a program does that does not wait."""

import sys

from easyremote import Client

address, ledger, many = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = Client(address)
for number in range(many):
    print(client.submit("count", ledger, number, durable=True).id, flush=True)
