"""The user's own Python, as net.py: loading a function of it, and saying where in it something went wrong."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from enginewright.errors import ActionError

_FRAMES, _MESSAGE = 20, 4000
"""How many of the user's lines are shown, and characters of a message; the log of the action has all."""


def load_function(source: Path, function: str) -> Callable[..., Any]:
    """The function of this name in a Python file. Files beside it can be imported from it, as from a script.

    Raises ActionError, with the user's own lines, when the file fails to load or has no such function.
    """
    sys.path.insert(0, str(source.parent))
    spec = importlib.util.spec_from_file_location(source.stem, source)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[source.stem] = loaded
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        raise ActionError(explain(error, source, f"{shown(source)} could not be loaded")) from error
    found: object = getattr(loaded, function, None)
    if not callable(found):
        raise ActionError(f"{shown(source)} has no function {function!r}: define it, or name another, as '{source.name}:FUNCTION'")
    return found


def explain(error: BaseException, source: Path, what: str) -> str:
    """``what``, where in the user's files it happened, and why: the part of Python's traceback that concerns the user."""
    reason = _reason(error, source.parent)
    lines = [f"{what}:"]
    frames = [
        f"  {shown(Path(frame.filename))}:{frame.lineno}, in {frame.name}: {frame.line}" for frame in _frames_below(source.parent, reason)
    ]
    if len(frames) > _FRAMES:
        frames[_FRAMES // 2 : -_FRAMES // 2] = [f"  ... {len(frames) - _FRAMES} calls more"]
    lines += frames
    if isinstance(reason, SyntaxError) and reason.filename:
        lines.append(f"  {shown(Path(reason.filename))}:{reason.lineno}: {(reason.text or '').strip()}")
        lines.append(f"  {type(reason).__name__}: {reason.msg}")
    else:
        lines.append(f"  {type(reason).__name__}: {_message(reason)}")
    return "\n".join(lines)


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        return "it has no message: its __str__() fails"
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}... and {len(text) - _MESSAGE} characters more"


def _reason(error: BaseException, folder: Path) -> BaseException:
    """The exception that the user's code let out: PyTorch wraps it in others. Without one, the cause that PyTorch gives."""
    chain = [error]
    while (wrapped := chain[-1].__cause__ or chain[-1].__context__) is not None and wrapped not in chain:
        chain.append(wrapped)
    for each in chain:
        if _frames_below(folder, each):
            return each
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _frames_below(folder: Path, error: BaseException) -> list[traceback.FrameSummary]:
    return [frame for frame in traceback.extract_tb(error.__traceback__) if folder in Path(frame.filename).parents]


def shown(path: Path) -> str:
    """``path`` as the user knows it: below the sandbox, a file has its path in the workspace."""
    return str(PurePosixPath(os.path.relpath(path)))
