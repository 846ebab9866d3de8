"""Asking a worker of a remote executor what it is, which the Remote Execution API itself cannot tell: it is an action that is run there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from enginewright.execute.elsewhere import Machine, machine_of
from enginewright.remote.adapter import Adapter
from enginewright.remote.errors import RemoteError
from enginewright.remote.execution import Execution
from enginewright.remote.messages import remote_action


class Found(NamedTuple):
    """A worker: its name in the executor, its host, what it is, and that as the text that it gave."""

    worker: str
    host: str
    machine: Machine
    text: str


def probe(execution: Execution, storage: Adapter, properties: Mapping[str, str], packages: Iterable[str], patience: float) -> Found:
    """Have a worker with these platform properties describe itself, and the toolchains of these distributions.

    ``patience`` is for how many seconds to wait for one. Raises RemoteError, and ActionError when there is none, or the executor refuses.
    """
    action = remote_action({}, {}, (), (), (), properties, arguments=("--describe", *sorted(packages)))
    storage.write_small({digest: action.messages[digest] for digest in storage.missing(action.messages.keys())})
    executed = execution.run(action.digest, patience, use_cached=False)
    worker = executed.result.worker or "a worker"
    out, err = (each.raw or storage.read_small([each.digest]).get(each.digest, b"") for each in (executed.stdout, executed.stderr))
    if executed.result.exit_code:
        shown = err.decode(errors="replace").strip().rpartition("\n")[2]
        raise RemoteError(f"{worker} cannot run python3 with Enginewright, exit code {executed.result.exit_code}: {shown}")
    try:
        found = json.loads(out)
        return Found(worker, str(found["host"]), machine_of(found), out.decode())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RemoteError(f"{worker} said what is no description of it: {error}") from None


def differences(there: Machine, wanted: Machine) -> list[str]:
    """In what a worker is not what the keys of actions would name."""
    found = [] if there.platform == wanted.platform else [f"Python and platform is {there.platform} there, and {wanted.platform} in keys"]
    versions = [{name: version for each in one.toolchains.values() for name, version in each.items()} for one in (there, wanted)]
    for name in sorted({*versions[0], *versions[1]}):
        ours, theirs = versions[1].get(name, "missing"), versions[0].get(name, "missing")
        if ours != theirs:
            found.append(f"{name} is {theirs} there, and {ours} in keys")
    return found
