"""Large values on their way to a caller: which call, or which item of its stream, each of them is for."""

from __future__ import annotations

from easyremote.errors import ValueTooLargeError
from easyremote.protocol.call import Awaited, Call
from easyremote.protocol.channel import Channel
from easyremote.wire.bundle import Item, Result

__all__ = ["Bodies"]


class Bodies:
    """All that are expected.

    Args:
        max_value_bytes: The largest value this caller takes.
    """

    def __init__(self, max_value_bytes: int) -> None:
        self._max_value_bytes = max_value_bytes
        self._expected: dict[tuple[int, int], tuple[Call, Awaited | None]] = {}

    def __len__(self) -> int:
        return len(self._expected)

    def expect(
        self, call: Call, channel: Channel, message: Result | Item, awaited: Awaited | None = None
    ) -> ValueTooLargeError | None:
        """Make room for a result, or for an item that others wait behind; an error if it is too large."""
        if message.size > self._max_value_bytes:
            channel.refuse_body(message.body)
            return ValueTooLargeError(
                f"{call.function!r} on {call.node_name!r} gave a value of {message.size:,} bytes; this client takes "
                f"at most {self._max_value_bytes:,} bytes a value. Raise max_value_bytes= of the client"
            )
        channel.expect_body(message.body, message.size)
        self._expected[channel.session.id, message.body] = (call, awaited)
        return None

    def whole(self, channel: Channel, number: int) -> tuple[Call, Awaited | None] | None:
        """Whom a value is for that has come whole; None if nobody waits for it."""
        return self._expected.pop((channel.session.id, number), None)

    def forget(self, call: Call, channel: Channel) -> None:
        """Nobody waits for those of this call any more."""
        for key in [key for key, (one, _) in self._expected.items() if one is call]:
            del self._expected[key]
            channel.refuse_body(key[1])

    def close(self, channel: Channel) -> None:
        """Nothing more comes in this session."""
        for key in [key for key in self._expected if key[0] == channel.session.id]:
            del self._expected[key]
