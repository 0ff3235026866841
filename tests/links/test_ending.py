"""A program that serves hears that it is to end, whichever of its threads the system tells."""

from __future__ import annotations

import signal
import threading

from easyremote.links.ending import told_to_end, wait


def test_a_signal_that_another_thread_gets_ends_the_wait() -> None:
    stopped, waiting = threading.Event(), threading.Event()

    def take_the_signal() -> None:
        waiting.wait(10)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        over.wait(10)

    over = threading.Event()
    taker = threading.Thread(target=take_the_signal)
    giving_up = threading.Timer(10, stopped.set)
    with told_to_end(stopped):
        taker.start()
        giving_up.start()
        waiting.set()
        wait(stopped)
    assert giving_up.is_alive(), "it was the signal that ended it"
    giving_up.cancel()
    over.set()
    taker.join()
