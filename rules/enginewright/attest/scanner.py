"""Programs that look into images: run, and what they wrote read, with errors in words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enginewright.errors import ActionError


def run(program: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a program, with these variables besides those there are. Raises ActionError unless it ends well."""
    try:
        done = subprocess.run([program, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise ActionError(f"{program.name} cannot be run: {error.strerror}") from None
    if done.returncode:
        raise ActionError(f"{program.name} could not scan the image (exit code {done.returncode}):\n{done.stderr.strip()[-2000:]}")


def read_report(program: Path, report: Path) -> dict[str, Any]:
    """The JSON object that a program wrote. Raises ActionError where there is none."""
    try:
        found = json.loads(report.read_bytes())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ActionError(f"{program.name} wrote no report that can be read")
    return found
