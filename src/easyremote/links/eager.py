"""Coroutines that begin at once, without a task: what Python 3.12 calls eager execution, for 3.11 as well.

Where something is to be written now, a task would first wait for the loop's next turn. Here the first step is
taken by whoever starts it, and what the coroutine waits for takes the further ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from easyremote.trace import log


class Eager:
    """Drives one coroutine to its end.

    Args:
        work: The coroutine; it must not count on a task of its own.
        ended: Told when it has ended, however it did.
    """

    __slots__ = ("_ended", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], ended: Callable[[], None]) -> None:
        self._work, self._ended = work, ended
        self._step()

    def _step(self, _: object = None) -> None:
        try:
            waits_for = self._work.send(None)
        except StopIteration:
            self._ended()
        except asyncio.CancelledError:  # what it waited for was cancelled: nobody wants it any more
            self._ended()
        except BaseException:
            log.exception("writing to a link broke; please report this")
            self._ended()
        else:
            if waits_for is None:
                asyncio.get_running_loop().call_soon(self._step)
            else:
                waits_for._asyncio_future_blocking = False  # as a task does: it has been taken care of
                waits_for.add_done_callback(self._step)
