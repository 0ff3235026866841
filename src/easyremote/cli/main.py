"""The command ``easynet``: where it begins, and how Ctrl-C ends it."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    try:
        from easyremote.cli.trust_commands import app

        app(prog_name="easynet")
    except KeyboardInterrupt:  # before a command's own work began, such as while loading
        raise SystemExit(130) from None
