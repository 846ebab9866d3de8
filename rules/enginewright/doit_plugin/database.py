"""doit's own memory of its tasks, such as those it is told to ignore."""

from __future__ import annotations

from pathlib import Path

from doit.dependency import JsonDB

from enginewright.store.files import write_atomically


class Database(JsonDB):  # type: ignore[misc]  # doit has no type information
    """doit's JSON file, which neither a kill nor a full disk leaves half written: doit would refuse to read it ever after."""

    desc = "a JSON file, replaced whole"

    def dump(self) -> None:
        """Write the file."""
        write_atomically(Path(self.name), self.codec.encode(self._db).encode())
