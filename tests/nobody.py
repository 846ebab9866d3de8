"""Being another user for a while, which only root can."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registries import need
from throwaway import Workspace

COMMAND = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""What a command begins with to run as that user, who may nevertheless read Python and this project, wherever they are installed."""


@contextmanager
def cloned(workspace: Workspace) -> Iterator[Workspace]:
    """A clone that is theirs, with a store of its own, below their home."""
    need("setpriv")
    # pytest's own folders are root's alone.
    home = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    try:
        other = workspace.clone(home / "workspace", home / "store")
        # In a namespace of their own they could read neither Python nor the project.
        other.environment |= {"HOME": str(home), "ENGINEWRIGHT_SANDBOX": "audit"}
        subprocess.run(["chown", "-R", "65534:65534", home], check=True)
        yield other
    finally:
        shutil.rmtree(home)
