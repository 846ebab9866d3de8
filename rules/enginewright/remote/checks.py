"""Whether a shared cache works, a step at a time."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from enginewright.remote.adapter import SMALL, Adapter
from enginewright.remote.digest import Digest
from enginewright.remote.errors import RemoteError
from enginewright.remote.messages import File, read_result, write_result


class Step(NamedTuple):
    """What was tried, whether it worked, what is to be said of it, and the seconds it took. ``good`` is None for what was not tried."""

    name: str
    good: bool | None
    text: str
    seconds: float = 0.0


def check_cache(adapter: Adapter, reads: bool, writes: bool) -> Iterator[Step]:
    """The steps up to the first that does not work. What is written is a few bytes more than a message takes, new each time."""
    small, large = os.urandom(100), os.urandom(2 * SMALL + 1)
    result = write_result({"checked": File(Digest.of(small))}, {}, {})
    action = Digest.of(small + b"action")

    def describe() -> str:
        return adapter.describe()

    def write() -> str:
        blobs = {Digest.of(small), Digest.of(large)}
        if lacking := blobs - adapter.missing(blobs):
            raise RemoteError(f"it says that it has {lacking.pop()}, which it cannot: it was made just now")
        adapter.write_small({Digest.of(small): small})
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "large").write_bytes(large)
            adapter.write(Digest.of(large), Path(folder, "large"))
        if lost := adapter.missing(blobs):
            raise RemoteError(f"it lacks {lost.pop()}, which it took just now")
        adapter.put_result(action, result)
        return f"two blobs of {len(small)} and {len(large)} bytes, and a result"

    def read() -> str:
        parts: list[bytes] = []
        found = adapter.get_result(action, [])
        if found is None:
            raise RemoteError("it has lost the result that it took just now")
        if read_result(found).files != read_result(result).files:
            raise RemoteError("it gave another result than it took")
        if adapter.read_small([Digest.of(small)]).get(Digest.of(small)) != small:
            raise RemoteError("it did not give a small blob as it took it")
        if not adapter.read(Digest.of(large), parts.append) or b"".join(parts) != large:
            raise RemoteError("it did not give a large blob as it took it")
        return "the same bytes"

    def look() -> str:
        if adapter.get_result(action, []) is not None:
            raise RemoteError("it has a result of an action that nobody has run")
        return "it says what it does not have"

    steps: list[tuple[str, Callable[[], str] | str]] = [("reach", describe)]
    steps += [("look up", look)] if reads else [("look up", "not tried: the mode is write")]
    steps += [("write", write)] if writes else [("write", "not tried: the mode is read")]
    steps += [("read back", read)] if reads and writes else [("read back", "not tried: the mode is not read-write")]
    for name, call in steps:
        if isinstance(call, str):
            yield Step(name, None, call)
            continue
        began = time.monotonic()
        try:
            text, good = call(), True
        except (RemoteError, ValueError, OSError) as error:
            text, good = str(error), False
        yield Step(name, good, text, time.monotonic() - began)
        if not good:
            return
