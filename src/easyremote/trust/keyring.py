"""The device's key on disk: the one file under the line that touches it.

``device.key`` holds the 32-byte seed in hexadecimal. It is readable by its owner alone, appears whole or
not at all, and is never overwritten: two processes that start at once agree on the one that was first.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from easyremote.errors import IdentityError
from easyremote.trust.identity import SEED_BYTES, Identity

KEY_NAME = "device.key"


def default_home() -> Path:
    """``EASYREMOTE_HOME``, or ``~/.easyremote``."""
    named = os.environ.get("EASYREMOTE_HOME")
    return Path(named).expanduser() if named else Path.home() / ".easyremote"


class Keyring:
    """What a device keeps in its home folder."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = Path(home) if home is not None else default_home()

    def identity(self, fresh_seed: bytes) -> Identity:
        """This device's identity; made from ``fresh_seed`` if there is none yet.

        Raises:
            IdentityError: The key cannot be read or written, is broken, or others may read it.
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
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f"{KEY_NAME}.{os.getpid()}.{seed[:4].hex()}.new")
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
                if not path.exists():
                    os.rename(fresh, path)
            self._sync_home()
        finally:
            fresh.unlink(missing_ok=True)

    def _sync_home(self) -> None:
        if os.name == "posix":
            folder = os.open(self.home, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _read(self, path: Path) -> Identity:
        mode = stat.S_IMODE(path.stat().st_mode)
        if os.name == "posix" and mode & 0o077:
            raise IdentityError(
                f"others may read the device key {path} (its mode is {mode:04o}, wanted 0600). "
                f"Run: chmod 600 {path}"
            )
        text = path.read_bytes()
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
