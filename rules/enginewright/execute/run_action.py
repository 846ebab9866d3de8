"""What runs on a worker of a remote executor: one action, in the sandbox it would have on the machine that asked for it.

``python -m enginewright.execute.run_action`` reads the action's description from its current folder, the input root, and writes
the outputs there, each at its path, with the record of the run beside them. What the action prints goes to standard output while it
runs; standard error is for the reason of a failure. A machine whose Python, distributions, code or GPU are not those that the
action key names refuses: its outputs would pass for something that they are not. ``--describe`` prints what this machine has, as
JSON; the names of distributions after it say whose versions.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from enginewright.errors import ActionError, WorkspaceError, in_words
from enginewright.execute.description import (
    DESCRIPTION,
    FAILED,
    FOLDER,
    RECORD,
    REFUSED,
    Described,
    Record,
    read_description,
    stored_outputs,
    write_record,
)
from enginewright.execute.installation import Installation
from enginewright.execute.local import Executor
from enginewright.execute.platform import PROPERTY, gpus, host_platform, unmet
from enginewright.execute.resources import alone_on_gpu
from enginewright.execute.spawn import Input, Spawn, offered_path
from enginewright.graph.key import Material
from enginewright.store.content import ContentStore
from enginewright.store.digest import file_digest, tree_digest
from enginewright.store.files import write_atomically
from enginewright.store.results import Output
from enginewright.store.strong import StrongDigests

_COPY_SECONDS = 0.2
_SHOWN = 8
"""How many differences between two machines are worth reading."""


class Refusal(Exception):
    """This machine is not the one that an action's key names. The message says in what."""


def main(arguments: list[str]) -> int:
    """Run the action described below the current folder, or describe this machine; the exit code."""
    if arguments[:1] == ["--describe"]:
        return _describe(tuple(arguments[1:]))
    if arguments:
        print("usage: python -m enginewright.execute.run_action [--describe [DISTRIBUTION...]]", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # a timeout: clean up as after Ctrl-C
    root = Path.cwd()
    try:
        described = read_description((root / DESCRIPTION).read_bytes())
        check(described.material, described.action.packages)
        run(root, described)
    except (Refusal, ValueError, WorkspaceError) as problem:
        print(problem, file=sys.stderr)
        return REFUSED
    except ActionError as problem:
        print(problem, file=sys.stderr)
        return FAILED
    except OSError as problem:
        print(in_words(problem), file=sys.stderr)
        return FAILED
    return 0


def check(wanted: Material, packages: tuple[str, ...]) -> None:
    """Raise Refusal where this machine's Python, distributions, code or GPUs are not those of a key."""
    installation = Installation()
    try:
        toolchain = installation.toolchain(packages).versions
        code = installation.code(wanted.run.partition(":")[0])
    except (LookupError, ModuleNotFoundError) as problem:
        raise Refusal(f"the worker {socket.gethostname()} cannot run this action: {problem}") from None
    differences = [
        *_differences({"Python and platform": host_platform()}, {"Python and platform": wanted.platform}),
        *_differences(toolchain, wanted.toolchain),
    ]
    if not differences:
        own = _differences(code, wanted.code)
        differences = [f"Enginewright's own code differs, in {', '.join(sorted(_changed(code, wanted.code)))}"] if own else []
    if differences:
        more = [f"and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
        raise Refusal(
            f"the worker {socket.gethostname()} has another toolchain than the action's key names: "
            f"{'; '.join(differences[:_SHOWN] + more)}: install the same versions on both"
        )
    # What is a platform property is the executor's affair: it chose this machine by it.
    if reason := unmet({name: value for name, value in wanted.requires.items() if not name.startswith(PROPERTY)}):
        raise Refusal(f"the worker {socket.gethostname()} was given an action that {reason}: its platform properties promise what it lacks")


def _changed(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    return [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    changed = sorted(_changed(ours, theirs))
    return [f"{name} is {ours.get(name, 'missing')} there, and {theirs.get(name, 'missing')} in the key" for name in changed]


def run(root: Path, described: Described) -> None:
    """Run an action whose inputs lie below ``root``, and put its outputs and its record there.

    Raises ActionError as the local executor does, and when an input has other bytes than the key says.
    """
    label, action, material, beside = described
    places = {name: root / offered_path(action.outputs[name]) for name in beside}
    offered = {name: Input(place, file_digest(place)) for name, place in places.items()}
    inputs = {name: Input(root / path, digest) for name, (path, digest) in material.inputs.items()}
    for each in inputs.values():
        if (tree_digest if each.location.is_dir() else file_digest)(each.location) != each.digest:
            raise ActionError(f"its input {each.location.relative_to(root)} arrived with other bytes than its key names")
    own = Path(tempfile.mkdtemp(prefix="tmp-", dir=root / FOLDER))
    log = own / "log"
    store = ContentStore(own / "store")
    executor = Executor(root, store, Installation())
    gpu = material.requires.get("gpu", "")
    try:
        with (
            alone_on_gpu(gpu, lambda: False),
            _shown(log),
            executor.run(Spawn(label, action, material, inputs, offered), log) as result,
        ):
            outputs = stored_outputs(store, StrongDigests(own / "strong"), result.outputs)
            for output in result.outputs.values():
                _place(store, output, root, own)
        record = Record(result.started, result.seconds, result.peak_rss, result.host, gpu, result.sandbox, outputs)
        write_atomically(root / RECORD, write_record(record))
    finally:
        executor.stop()
        executor.close()
        store.close()
        shutil.rmtree(own, ignore_errors=True)


def _place(store: ContentStore, output: Output, root: Path, staging: Path) -> None:
    place = root / output.path
    if not output.tree:
        whole = store.place(output.digest, place, staging)
    else:
        place.mkdir(parents=True, exist_ok=True)
        whole = all(store.place(each.digest, place / each.path, staging, each.executable) for each in store.tree(output.digest) or ())
    if not whole:
        raise ActionError(f"its output {output.path} vanished while it was put in place")


@contextmanager
def _shown(log: Path) -> Iterator[None]:
    """Copy to standard output what a file comes to hold: an action that is stopped for taking too long has then said something."""
    log.touch()
    ended = threading.Event()

    def copy() -> None:
        with open(log, "rb") as printed:
            last = False
            while not last:
                last = ended.wait(_COPY_SECONDS)
                shutil.copyfileobj(printed, sys.stdout.buffer)
                sys.stdout.buffer.flush()

    copying = threading.Thread(target=copy)
    copying.start()
    try:
        yield
    finally:
        ended.set()
        copying.join()


def _describe(packages: tuple[str, ...]) -> int:
    installation, versions = Installation(), {}
    for name in packages:
        try:
            versions[name] = dict(installation.toolchain((name,)).versions)
        except LookupError:
            versions[name] = {}
    found = {
        "host": socket.gethostname(), "platform": host_platform(), "gpus": gpus(), "processors": os.cpu_count(), "toolchains": versions,
    }  # fmt: skip
    print(json.dumps(found, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
