"""Types of one's own, arguments checked before the function runs, and errors that come back.

Usage::

    python examples/typed.py [HOST:PORT]
"""

import os
import sys
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum

from easyremote import Client, ComputeNode
from easyremote.errors import ArgumentError, CallTimeoutError, RemoteError, UnknownFunctionError

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EASYREMOTE_GATEWAY", "127.0.0.1:8080")


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Order:
    item: str
    size: Size
    count: int
    wanted: date


@dataclass
class Invoice:
    order: Order
    total: Decimal


node = ComputeNode(ADDRESS)


@node.register
def make_invoice(order: Order, discount: float = 0.0) -> Invoice:
    """Work out what an order costs."""
    if order.count < 1:
        raise ValueError(f"an order is for at least 1 {order.item}, not {order.count}")
    price = Decimal("2.50") if order.size is Size.SMALL else Decimal("4.00")
    return Invoice(order, price * order.count * (1 - Decimal(str(discount))))


@node.register
async def never_ends() -> None:
    """Wait for what does not come."""
    import asyncio

    await asyncio.Event().wait()


node.serve(blocking=False)
if not node.wait_for_connection(timeout=10):
    sys.exit(f"No gateway at {ADDRESS}. Start one with: easynet gateway")

with Client(ADDRESS) as client:
    order = Order("pie", Size.LARGE, 3, date(2030, 3, 14))
    invoice = client.execute("make_invoice", order, discount=0.1)
    print(type(invoice).__name__, invoice.total, invoice.order == order)

    # A dict will do where a dataclass is wanted: the node makes it one, as its type hint says.
    plain = {"item": "pie", "size": "small", "count": 2, "wanted": "2030-03-14"}
    print(client.execute("make_invoice", plain).order)

    try:
        client.execute("make_invoice", order, discount="much")
    except ArgumentError as error:
        print("ArgumentError, and the function was not run:", error)

    try:
        client.execute("make_invoice", Order("pie", Size.SMALL, 0, date.today()))
    except ValueError as error:  # it is what it was on the node ...
        print("caught as a ValueError:", str(error).splitlines()[0])

    try:
        client.execute("make_invoice", Order("pie", Size.SMALL, -1, date.today()))
    except RemoteError as error:  # ... and a RemoteError, which knows where it happened
        print(f"caught as a RemoteError: {error.type_name} on node {error.node!r}, {error.remote_message}")

    try:
        client.execute("never_ends", timeout=0.2)
    except CallTimeoutError as error:
        print("CallTimeoutError, and the call was cancelled there:", error)

    try:
        client.execute("make_invoce", order)
    except UnknownFunctionError as error:
        print("UnknownFunctionError:", error)

node.stop()
