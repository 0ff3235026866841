"""Worker threads for plain functions.

Waking a thread costs more than a small function does, and threads that run Python take turns anyway.
So functions known to be quick are run one after another by the thread that is awake; a function that
is slow, or not known yet, gets a thread of its own. A clock on the loop corrects the guess: when tasks
wait and none was taken for a while, the guess was wrong, and more threads are woken.

Threads are daemons: a function that never returns does not keep the process alive. Whatever a task
raises, its thread lives on.
"""

from __future__ import annotations

import _thread
import asyncio
import logging
import threading
import time
from collections import deque
from typing import Protocol

__all__ = ["Pace", "Task", "Threads"]

QUICK_SECONDS = 150e-6
"""A call this short costs less than waking a thread for it."""

TICK_SECONDS = 0.002
"""How long tasks may wait untouched behind a task believed to be quick."""

IDLE_SECONDS = 30.0
"""An idle thread ends after this long."""

log = logging.getLogger(__name__)


class Pace:
    """Whether a function has proved quick. One slow call in sixteen is forgiven; three in a row are not."""

    __slots__ = ("_score", "quick")

    def __init__(self) -> None:
        self.quick = False
        self._score = 0

    def note(self, seconds: float) -> None:
        """Learn from one call."""
        if seconds < QUICK_SECONDS:
            if self._score < 16:
                self._score += 1
                self.quick = self._score > 4
        else:
            self._score = max(self._score - 4, 0)
            self.quick = self._score > 4

    def doubt(self) -> None:
        """It kept others waiting: not quick until proved again."""
        self._score = 0
        self.quick = False


class Task(Protocol):
    """Something to run in a thread."""

    @property
    def pace(self) -> Pace:
        """How quick it is believed to be."""

    def run(self) -> None:
        """Do it. What it raises is logged and forgotten."""


class Threads:
    """A pool of at most ``limit`` threads, grown on demand.

    A thread that only waits for a stream's reader (``park``) does not count against the limit: slow
    readers cannot keep others from being served.

    ``submit`` and ``close`` belong to the loop's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self._limit = limit
        self._lock = threading.Lock()  # guards everything below
        self._tasks: deque[Task] = deque()
        self._idle: list[_thread.LockType] = []  # one lock a sleeping thread; released to wake it
        self._count = 0
        self._serving = 0  # threads that are awake and soon look for the next task
        self._inside_quick = 0  # those of them that are inside a task believed to be quick
        self._epoch = 0  # grows when those were found to be stuck, and count as serving no more
        self._parked = 0
        self._taken = 0
        self._seen_taken = 0
        self._ticking = False
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many tasks no thread has taken yet."""
        return len(self._tasks)

    @property
    def count(self) -> int:
        """How many threads there are."""
        return self._count

    def submit(self, task: Task) -> None:
        """Run a task as soon as a thread is free."""
        with self._lock:
            self._tasks.append(task)
            if not (self._serving and task.pace.quick):
                self._wake()
        if not self._ticking:
            self._ticking = True
            self._seen_taken = self._taken
            self._loop.call_later(TICK_SECONDS, self._tick)

    def park(self) -> None:
        """Called in a worker thread before it waits for something other than its work."""
        with self._lock:
            self._parked += 1
            if self._tasks and not self._serving:
                self._wake()

    def unpark(self) -> None:
        """Called in a worker thread when it waits no more."""
        with self._lock:
            self._parked -= 1

    def close(self) -> None:
        """Take no more tasks; threads end when their task does. Tasks not taken yet are forgotten."""
        with self._lock:
            self._closed = True
            self._tasks.clear()
            idle, self._idle = self._idle, []
        for bell in idle:
            bell.release()

    def _wake(self) -> None:
        """Make one more thread look for tasks, if there may be one more. The lock is held."""
        if self._idle:
            self._serving += 1
            self._idle.pop().release()
        elif self._count < self._limit + self._parked and not self._closed:
            self._serving += 1
            self._count += 1
            threading.Thread(target=self._work, name="easyremote-worker", daemon=True).start()

    def _tick(self) -> None:
        """While tasks wait, see to it that they do not wait behind one that blocks."""
        with self._lock:
            if not self._tasks:
                self._ticking = False
                return
            if self._taken == self._seen_taken:
                self._serving -= self._inside_quick
                self._inside_quick = 0
                self._epoch += 1
                self._tasks[0].pace.doubt()
                self._wake()
            self._seen_taken = self._taken
        self._loop.call_later(TICK_SECONDS, self._tick)

    def _work(self) -> None:
        """A thread's life. It counts as serving whenever it is awake and not inside a slow task."""
        lock, tasks, clock = self._lock, self._tasks, time.perf_counter
        bell = _thread.allocate_lock()
        bell.acquire()
        task: Task | None = None
        quick, epoch = False, 0
        while True:
            with lock:
                if task is not None:  # back from it
                    if quick and epoch == self._epoch:
                        self._inside_quick -= 1
                    else:
                        self._serving += 1
                task = None
                if tasks:
                    task = tasks.popleft()
                    self._taken += 1
                    quick, epoch = task.pace.quick, self._epoch
                    if quick:
                        self._inside_quick += 1
                    else:
                        self._serving -= 1
                        if tasks and not self._serving:
                            self._wake()
                else:
                    self._serving -= 1
                    if self._closed:
                        self._count -= 1
                        return
                    self._idle.append(bell)
            if task is None:
                if not self._sleep(bell):
                    return
                continue
            began = clock()
            try:
                task.run()
            except BaseException:
                log.exception("a task in a worker thread raised")
            task.pace.note(clock() - began)

    def _sleep(self, bell: _thread.LockType) -> bool:
        """Wait to be woken; False when the thread is to end."""
        if bell.acquire(timeout=IDLE_SECONDS):
            return True
        with self._lock:
            if bell in self._idle:
                self._idle.remove(bell)
                self._count -= 1
                return False
        return bell.acquire()  # woken in the very moment it gave up
