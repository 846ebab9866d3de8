"""doit's own memory of its tasks, such as those it is told to ignore."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from doit.dependency import DatabaseException, JsonDB

from enginewright.store.files import write_atomically


class Database(JsonDB):  # type: ignore[misc]  # doit has no type information
    """doit's JSON file, which neither a kill nor a full disk leaves half written: doit would refuse to read it ever after."""

    desc = "a JSON file, replaced whole"

    def _load(self) -> dict[str, dict[str, Any]]:
        """Read the file. One that is damaged, as a power cut can leave it, counts as empty, and that is said."""
        try:
            found = super()._load()
            if isinstance(found, dict) and all(isinstance(each, dict) for each in found.values()):
                return found
        except (DatabaseException, ValueError):
            pass
        print(
            f"WARNING: {self.name} is damaged and counts as empty: remove it, and tell doit ignore again what it was told", file=sys.stderr
        )
        return {}

    def dump(self) -> None:
        """Write the file."""
        write_atomically(Path(self.name), self.codec.encode(self._db).encode())
