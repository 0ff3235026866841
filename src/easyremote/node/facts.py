"""What a node says of its machine: measured, never asked of the owner."""

from __future__ import annotations

import os
import platform


def machine_facts() -> dict[str, str | int | float | bool]:
    """The facts that do not change while a process runs; memory in bytes."""
    import psutil

    return {
        "os": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count() or 1,
        "memory_bytes": int(psutil.virtual_memory().total),
    }


def has_aes() -> bool:
    """Whether the CPU has AES instructions; unknown counts as no, which is slower but never wrong."""
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        return platform.system() == "Darwin" or _cpu_flags("Features") >= {"aes"}
    if machine in ("x86_64", "amd64"):
        return platform.system() != "Linux" or _cpu_flags("flags") >= {"aes"}
    return False


def _cpu_flags(field: str) -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpus:
            for line in cpus:
                name, _, value = line.partition(":")
                if name.strip() == field:
                    return set(value.split())
    except OSError:
        pass
    return set()
