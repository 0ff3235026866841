"""A TCP forwarder that keeps a copy of every byte it passes on, and can fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Tap:
    """Listens on 127.0.0.1, forwards to ``address``, records both directions.

    As a context manager; ``.address`` is what to connect to instead.
    """

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._target = (host, int(port))
        self.address = ""
        self.recorded = bytearray()
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._flowing: asyncio.Event | None = None
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def copy(self) -> bytes:
        """All bytes seen until now, in the order they passed."""
        with self._lock:
            return bytes(self.recorded)

    def hush(self) -> None:
        """From now on nothing passes, and no connection is closed: the network is silent."""
        assert self._flowing is not None
        self._loop.call_soon_threadsafe(self._flowing.clear)

    async def _serve(self) -> None:
        self._stop, self._flowing = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the tap is closed: this task ends well
                await asyncio.gather(
                    self._forward(reader, onward_writer), self._forward(onward_reader, writer)
                )
        finally:
            writer.close()
            onward_writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._flowing is not None
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 18):
                await self._flowing.wait()
                with self._lock:
                    self.recorded += data
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(ConnectionError, RuntimeError, OSError):
            writer.write_eof()

    def __enter__(self) -> Tap:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()
