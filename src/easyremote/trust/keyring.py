"""The device's key on disk: the one file under the line that touches it.

``device.key`` holds the 32-byte seed in hexadecimal. It is readable by its owner alone, appears whole or
not at all, and is never overwritten: processes that start at once agree on the one that was first.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from easyremote.errors import IdentityError
from easyremote.trust.identity import SEED_BYTES, Identity

KEY_NAME = "device.key"
KEY_FILE_BYTES_MAX = 1024


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

    def identity(self, fresh_seed: bytes) -> Identity:
        """This device's identity; made from ``fresh_seed`` if there is none yet.

        Raises:
            IdentityError: The key cannot be read or written, is broken, or others may read or replace it.
        """
        path = self.home / KEY_NAME
        try:
            if not path.exists():
                self._create(path, fresh_seed)
            return self._read(path)
        except OSError as error:
            raise IdentityError(
                f"cannot use the device key {path}: {error.strerror}. Make the folder writable, "
                "or set EASYREMOTE_HOME to one that is"
            ) from None

    def _create(self, path: Path, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise IdentityError(f"an identity's seed has {SEED_BYTES} bytes, found {len(seed)}")
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = hashlib.sha256(b"file name" + seed).hexdigest()[:16]  # a name shows nothing of the seed
        fresh = path.with_name(f"{KEY_NAME}.{os.getpid()}.{mark}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(seed.hex().encode("ascii") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(fresh, path)  # unlike a rename, this fails if another process was first
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                self._rename(fresh, path)
            self._sync_home()
        finally:
            fresh.unlink(missing_ok=True)

    def _rename(self, fresh: Path, path: Path) -> None:
        """Put the file in its place, one process at a time."""
        if os.name != "posix":
            os.rename(fresh, path)  # fails there if another process was first
            return
        import fcntl

        folder = os.open(self.home, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if not path.exists():
                os.rename(fresh, path)
        finally:
            os.close(folder)

    def _sync_home(self) -> None:
        if os.name == "posix":
            folder = os.open(self.home, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _read(self, path: Path) -> Identity:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would block
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)  # of the very file that is read
            if os.name == "posix":
                self._check(path, found)
            text = file.read(KEY_FILE_BYTES_MAX) if stat.S_ISREG(found.st_mode) else b""
        try:
            seed = bytes.fromhex(text.decode("ascii").strip())
        except (UnicodeDecodeError, ValueError):
            seed = b""
        if len(seed) != SEED_BYTES:
            raise IdentityError(
                f"the device key {path} is broken: wanted {SEED_BYTES} bytes in hexadecimal. Restore it from a "
                "backup, or move it away to become a new device"
            )
        return Identity.from_seed(seed)

    def _check(self, path: Path, found: os.stat_result) -> None:
        """Refuse a key that others may know, or may have put there."""
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise IdentityError(
                f"others may read the device key {path} (its mode is {mode:04o}, wanted 0600). "
                f"Run: chmod 600 {path}"
            )
        folder = self.home.stat()
        if found.st_uid not in (os.geteuid(), 0, folder.st_uid):
            raise IdentityError(
                f"the device key {path} belongs to another user (id {found.st_uid}), who knows it. "
                "Make a new one: move it away, or set EASYREMOTE_HOME to a folder of your own"
            )
        if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
            raise IdentityError(
                f"others may replace the device key {path} (the folder's mode is "
                f"{stat.S_IMODE(folder.st_mode):04o}). Run: chmod go-w {self.home}"
            )
