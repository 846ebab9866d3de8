"""What builds that were killed leave behind besides the store."""

from __future__ import annotations

import shutil
from pathlib import Path

from enginewright.execute.memory import STATE
from enginewright.execute.sandbox import MEMORY
from enginewright.store.scratch import sweep


def clear_leftovers(root: Path) -> int:
    """Remove half-written files of the workspace at ``root``, whose lock must be held, and sandboxes whose process is gone.

    Returns how many files and folders these were.
    """
    state = root / STATE
    halves = [*(state / "tmp").glob("*"), *state.glob("**/.*.part")]
    for half in halves:
        if half.is_dir() and not half.is_symlink():
            shutil.rmtree(half, ignore_errors=True)
        else:
            half.unlink(missing_ok=True)
    return len(halves) + len(sweep(MEMORY))
