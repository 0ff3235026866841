"""An exception from user code as a fact that can be sent.

Nothing an exception does while it is described, in its ``__str__`` or its notes, gets out of here.
"""

from __future__ import annotations

import builtins
import os
import traceback
from types import TracebackType

from easyremote.protocol.events import CallKey, Failed

__all__ = ["MESSAGE_CHARACTERS", "TRACEBACK_CHARACTERS", "describe", "failed"]

MESSAGE_CHARACTERS = 4096
TRACEBACK_CHARACTERS = 16_384
FRAMES = 40

_ROOM = os.path.dirname(os.path.abspath(__file__)) + os.sep


def failed(key: CallKey, kind: str, error: BaseException) -> Failed:
    """The answer that says a call raised ``error``; the traceback only for the user's own errors."""
    return Failed(
        key,
        kind,
        _type_name(error),
        describe(error),
        _traceback_text(error) if kind == "error" else "",
        _builtin_name(error),
    )


def describe(error: BaseException) -> str:
    """What ``str(error)`` gives, bounded, or a remark if that itself raises."""
    try:
        text = str(error)
    except BaseException as second:
        return f"<{_type_name(error)}: its __str__ raised {_type_name(second)}>"
    if len(text) > MESSAGE_CHARACTERS:
        text = f"{text[:MESSAGE_CHARACTERS]}… ({len(text) - MESSAGE_CHARACTERS} characters more)"
    return _sendable(text)


def _type_name(error: BaseException) -> str:
    return _sendable(type(error).__name__)


def _builtin_name(error: BaseException) -> str:
    for ancestor in type(error).__mro__:
        if getattr(builtins, ancestor.__name__, None) is ancestor:
            return str(ancestor.__name__)
    return "Exception"


def _traceback_text(error: BaseException) -> str:
    """The traceback from the first frame that is the user's."""
    try:
        frames: TracebackType | None = error.__traceback__
        while frames is not None and _is_ours(frames):
            frames = frames.tb_next
        lines = traceback.format_exception(type(error), error, frames, limit=-FRAMES)
        text = _sendable("".join(lines))
    except BaseException as second:
        return f"<the traceback of {_type_name(error)} cannot be shown: {_type_name(second)}>"
    if len(text) > TRACEBACK_CHARACTERS:
        cut = len(text) - TRACEBACK_CHARACTERS
        return f"… ({cut} characters before)\n{text[-TRACEBACK_CHARACTERS:]}"
    return text


def _is_ours(frames: TracebackType) -> bool:
    return frames.tb_frame.f_code.co_filename.startswith(_ROOM)


def _sendable(text: str) -> str:
    """The text as UTF-8 can carry it: lone surrogates are escaped."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
