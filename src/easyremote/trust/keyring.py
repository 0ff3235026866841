"""What a device keeps on disk: the one file under the line that touches it.

Every file here is readable by its owner alone and appears whole or not at all. Keys are seeds of 32 bytes in
hexadecimal; a key is never overwritten: processes that start at once agree on the one that was first. Other
files are replaced whole.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from easyremote.errors import IdentityError
from easyremote.trust.identity import SEED_BYTES, Identity

T = TypeVar("T")

KEY_NAME = "device.key"
FILE_BYTES_MAX = 4 << 20


def default_home() -> Path:
    """``EASYREMOTE_HOME``, or ``~/.easyremote``.

    Raises:
        IdentityError: This user has no home folder, and the variable is not set.
    """
    named = os.environ.get("EASYREMOTE_HOME")
    try:
        return Path(named).expanduser() if named else Path.home() / ".easyremote"
    except RuntimeError:
        raise IdentityError(
            "this user has no home folder to keep a device key in. Make one, or set EASYREMOTE_HOME"
        ) from None


class Keyring:
    """What a device keeps in its home folder."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = Path(home) if home is not None else default_home()

    # ---- keys

    def identity(self, fresh_seed: bytes, name: str = KEY_NAME) -> Identity:
        """The identity of this key file, by default this device's; made from ``fresh_seed`` if there is none yet.

        Raises:
            IdentityError: The key cannot be read or written, is broken, or others may read or replace it.
        """
        if len(fresh_seed) != SEED_BYTES:
            raise IdentityError(f"an identity's seed has {SEED_BYTES} bytes, found {len(fresh_seed)}")
        found = self.key(name)
        if found is not None:
            return found
        self._guarded(name, lambda path: self._create(path, fresh_seed.hex().encode("ascii") + b"\n"))
        made = self.key(name)
        if made is None:
            raise IdentityError(f"the key {self.home / name} vanished while it was made: try again")
        return made

    def key(self, name: str) -> Identity | None:
        """The identity of this key file; None if there is none.

        Raises:
            IdentityError: The key cannot be read, is broken, or others may read or replace it.
        """
        text = self.read(name)
        if text is None:
            return None
        try:
            seed = bytes.fromhex(text.decode("ascii").strip())
        except (UnicodeDecodeError, ValueError):
            seed = b""
        if len(seed) != SEED_BYTES:
            raise IdentityError(
                f"the device key {self.home / name} is broken: wanted {SEED_BYTES} bytes in hexadecimal. Restore it "
                "from a backup, or move it away to become a new device"
            )
        return Identity.from_seed(seed)

    # ---- files

    def read(self, name: str) -> bytes | None:
        """What a file holds; None if there is none.

        Raises:
            IdentityError: It cannot be read, or others may read or replace it.
        """
        return self._guarded(name, self._read)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file, whole, on disk before this returns.

        Raises:
            IdentityError: It cannot be written.
        """
        self._guarded(name, lambda path: self._replace(path, data))

    def create(self, name: str, data: bytes) -> bytes:
        """What the file holds, which is ``data`` if there was none.

        Raises:
            IdentityError: It cannot be read or written.
        """
        found = self.read(name)
        if found is None:
            self._guarded(name, lambda path: self._create(path, data))
            found = self.read(name)
        return found if found is not None else data

    def remove(self, name: str) -> None:
        """There is no such file any more."""
        self._guarded(name, lambda path: path.unlink(missing_ok=True))

    def names(self, folder: str, suffix: str, *, newest_first: bool = False) -> list[str]:
        """The files of a folder, by name or by age."""
        place = self.home / folder
        found = sorted(place.glob(f"*{suffix}")) if place.is_dir() else []
        if newest_first:
            found.sort(key=lambda one: one.stat().st_mtime_ns, reverse=True)
        return [f"{folder}/{one.name}" for one in found]

    # ---- how

    def _guarded(self, name: str, act: Callable[[Path], T]) -> T:
        path = self.home / name
        try:
            return act(path)
        except OSError as error:
            kind = "key" if name.endswith(".key") else "file"
            raise IdentityError(
                f"cannot use the {kind} {path}: {error.strerror}. Make the folder writable, "
                "or set EASYREMOTE_HOME to one that is"
            ) from None

    def _fresh(self, path: Path, data: bytes) -> Path:
        """A file beside it, on disk, that nobody else has seen."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = hashlib.sha256(b"file name" + os.urandom(16)).hexdigest()[:16]
        fresh = path.with_name(f"{path.name}.{os.getpid()}.{mark}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return fresh

    def _replace(self, path: Path, data: bytes) -> None:
        fresh = self._fresh(path, data)
        try:
            os.replace(fresh, path)
            self._sync(path.parent)
        finally:
            fresh.unlink(missing_ok=True)

    def _create(self, path: Path, data: bytes) -> None:
        fresh = self._fresh(path, data)
        try:
            try:
                os.link(fresh, path)  # unlike a rename, this fails if another process was first
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                self._rename(fresh, path)
            self._sync(path.parent)
        finally:
            fresh.unlink(missing_ok=True)

    def _rename(self, fresh: Path, path: Path) -> None:
        """Put the file in its place, one process at a time."""
        if os.name != "posix":
            os.rename(fresh, path)  # fails there if another process was first
            return
        import fcntl

        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if not path.exists():
                os.rename(fresh, path)
        finally:
            os.close(folder)

    def _sync(self, place: Path) -> None:
        if os.name == "posix":
            folder = os.open(place, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _read(self, path: Path) -> bytes | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would block
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)  # of the very file that is read
            if os.name == "posix":
                self._check(path, found)
            return file.read(FILE_BYTES_MAX) if stat.S_ISREG(found.st_mode) else b""

    def _check(self, path: Path, found: os.stat_result) -> None:
        """Refuse a file that others may know, or may have put there."""
        kind = "device key" if path.name == KEY_NAME else "key" if path.suffix == ".key" else "file"
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise IdentityError(
                f"others may read the {kind} {path} (its mode is {mode:04o}, wanted 0600). Run: chmod 600 {path}"
            )
        folder = path.parent.stat()
        if found.st_uid not in (os.geteuid(), 0, folder.st_uid):
            raise IdentityError(
                f"the {kind} {path} belongs to another user (id {found.st_uid}), who knows it. "
                "Make a new one: move it away, or set EASYREMOTE_HOME to a folder of your own"
            )
        if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
            raise IdentityError(
                f"others may replace the {kind} {path} (the folder's mode is "
                f"{stat.S_IMODE(folder.st_mode):04o}). Run: chmod go-w {path.parent}"
            )
