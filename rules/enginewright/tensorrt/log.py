"""What TensorRT says: all of it into the action's log, and its errors as the reason of a failure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from enginewright.errors import ActionError

_NO_DRIVER = "cudaError 35"
"""Without a driver TensorRT-RTX says so, as an error, and goes on to build all the same."""

_ADVICE = (
    (
        r"insufficient workspace",
        "a kernel needs more scratch memory than workspace_mib allows: raise it, or leave it out",
    ),
    (
        r"out ?of ?memory|Requested amount of GPU memory",
        "the GPU ran out of memory: end what else runs on it, lower workspace_mib, or make the largest sizes in dims smaller",
    ),
    (
        r"errorOnMiss",
        "the declared timing_cache has no timing for one of its kernels: build once without timing_cache,"
        " and declare the .timing_cache file that comes out",
    ),
    (
        r"any implementation for node \{ForeignNode",
        "no kernel fits this part of the network. If the log has warnings of cuBLAS: TensorRT 8 needs it for such parts, so install"
        " nvidia-cublas-cu11",
    ),
    (
        r"CUDA initialization failure|no CUDA-capable device",
        "this TensorRT finds no GPU that it can use, or a driver that is too old for it",
    ),
)
"""What to do about messages that do not say it, as regular expressions; upper and lower case are the same."""


def explain(messages: Iterable[str]) -> list[str]:
    """TensorRT's messages, each once, behind a sentence on what to do where one is known."""
    said = list(dict.fromkeys(messages)) or ["TensorRT gave no reason"]
    advice = [text for pattern, text in _ADVICE if any(re.search(pattern, each, re.IGNORECASE) for each in said)]
    return [*advice[:1], *said]


def new_log(trt: Any, say: bool = True) -> Any:
    """A logger for the module ``trt``. Its ``errors`` are kept; warnings and errors are printed if it is to ``say`` them."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if _NO_DRIVER in message:
                return
            if say and severity <= trt.ILogger.WARNING:
                print(f"{severity.name}: {message}", flush=True)
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)

        def failure(self, what: str) -> ActionError:
            return ActionError("\n  ".join([f"{what}:", *explain(self.errors)]))

    return Log()
