"""What keeps actions to what they declare: namespaces where this machine allows them, the audit hook alone where it does not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from enginewright.errors import WorkspaceError
from enginewright.execute.namespace import unavailable

VARIABLE = "ENGINEWRIGHT_SANDBOX"
NAMESPACE, AUDIT = "namespace", "audit"


class Isolation(NamedTuple):
    """``name``, as it is recorded with results: `NAMESPACE` or `AUDIT`; ``why`` says why it is the latter."""

    name: str
    why: str = ""

    def __str__(self) -> str:
        return f"audit hook ({self.why})" if self.why else "mount and network namespace"


def choose(hidden: Sequence[str], writable: Iterable[str]) -> Isolation:
    """The better one that can be had, or the one that the environment asks for; a trial hides and opens these folders.

    Raises WorkspaceError when what is asked for cannot be had.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", NAMESPACE, AUDIT):
        raise WorkspaceError(f"{VARIABLE}={wanted}: expected '{NAMESPACE}' or '{AUDIT}'")
    if wanted == AUDIT:
        return Isolation(AUDIT, f"{VARIABLE}={AUDIT}")
    why = unavailable(hidden, writable)
    if why and wanted:
        raise WorkspaceError(f"{VARIABLE}={wanted}: this machine does not allow it ({why}); without it the audit hook is used alone")
    return Isolation(AUDIT, why) if why else Isolation(NAMESPACE)
