"""Which actions run on a remote executor, and what its workers are.

A choice as text: ``auto``, those that this machine cannot run; ``always``; ``never``.
``auto,TensorrtEngine=always,models/x:big=never`` says so for all, for those of a mnemonic, and for one target, which goes before.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from enginewright.errors import WorkspaceError
from enginewright.execute.spawn import Spawn
from enginewright.graph.action import Action
from enginewright.graph.attributes import did_you_mean
from enginewright.graph.label import Label
from enginewright.store.results import Result

if TYPE_CHECKING:
    from enginewright.execute.remote import RemoteExecutor
    from enginewright.graph.dag import Target

_NO_PROPERTY = frozenset({"apt", "docker", "programs"})
"""The execution requirements that a worker cannot be asked for: whether one has them nobody knows."""

AUTO, ALWAYS, NEVER = MODES = ("auto", "always", "never")


@dataclass(frozen=True)
class Choice:
    """A mode for all actions, ``default``, and others for mnemonics and labels, ``exceptions``."""

    default: str = AUTO
    exceptions: Mapping[str, str] = field(default_factory=dict)

    def mode(self, label: Label, mnemonic: str) -> str:
        """The mode of one action."""
        return self.exceptions.get(str(label)) or self.exceptions.get(mnemonic) or self.default

    def wants(self, label: Label, action: Action, unmet: str) -> bool:
        """Whether an action is for the executor, given why this machine cannot run it, if it cannot."""
        mode = self.mode(label, action.mnemonic)
        return mode == ALWAYS or (mode == AUTO and bool(unmet) and not _NO_PROPERTY & action.requires.keys())

    def strangers(self, targets: Iterable[Target]) -> list[str]:
        """The exceptions that are for no action of these targets, each with what may have been meant."""
        named = {str(each.label): each.action.mnemonic for each in targets if each.action is not None}
        found = []
        for name in self.exceptions.keys() - named.keys() - set(named.values()):
            package, colon, _ = name.rpartition(":")
            known = [each for each in named if each.startswith(f"{package}:")] if colon else set(named.values())
            found.append(f"no action is called {name!r}{did_you_mean(name, known)}")
        return found


def read_choice(text: str) -> Choice:
    """A choice, from the text of an option or a setting. Raises ValueError, saying what is expected."""
    default, exceptions = AUTO, {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, mode = part.rpartition("=")
        if mode not in MODES:
            raise ValueError(f"there is no {mode!r}{did_you_mean(mode, MODES)}")
        if equals and not name:
            raise ValueError(f"{part!r}: expected a mnemonic or a label before the =")
        if equals:
            exceptions[name.removeprefix("//")] = mode
        else:
            default = mode
    return Choice(default, exceptions)


class Machine(NamedTuple):
    """What a kind of worker has, as ``python -m enginewright.execute.run_action --describe`` tells there.

    ``toolchains`` maps distributions to the versions of them and all that they require; ``gpus`` are architectures.
    """

    platform: str
    toolchains: Mapping[str, Mapping[str, str]]
    gpus: tuple[str, ...] = ()

    def toolchain(self, packages: Sequence[str]) -> dict[str, str]:
        """The versions of the toolchain of an action that declares these distributions. Raises LookupError when one is not told of."""
        versions: dict[str, str] = {}
        for name in packages:
            if not self.toolchains.get(name):
                raise LookupError(f"the description of the workers does not tell of the distribution {name!r}: describe one again, with it")
            versions |= self.toolchains[name]
        return dict(sorted(versions.items()))


def machine_of(found: Mapping[str, Any]) -> Machine:
    """A machine out of what it says of itself. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
    return Machine(str(found["platform"]), {name: dict(each) for name, each in found["toolchains"].items()}, tuple(found["gpus"]))


def read_machine(path: Path) -> Machine:
    """A machine out of a file. Raises WorkspaceError."""
    try:
        return machine_of(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not what `python -m enginewright.execute.run_action --describe` writes"
        raise WorkspaceError(f"remote-workers: {path}: {why}") from None


class Unavailable(Exception):
    """The remote executor could not run an action, for reasons of its own."""


class Elsewhere:
    """The remote executor of a build, which is connected to when it is first needed.

    ``name`` is its address, for people; ``workers`` are files that tell of its workers; ``jobs`` is how many actions may be under way
    there at once, and ``shares`` says whether what it makes is in the shared cache then. ``connect`` raises RemoteError when it cannot
    be reached. Without ``required`` the build goes on without it then, after a word by ``warn``; with it, that is a WorkspaceError.
    ``problem`` is why it cannot be used, if that is known and was told.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], RemoteExecutor],
        choice: Choice,
        workers: Sequence[Path],
        jobs: int,
        shares: bool,
        required: bool,
        warn: Callable[[str], None],
        problem: str = "",
    ) -> None:
        self.name = name
        self.jobs = jobs
        self.shares = shares
        self._connect = connect
        self.choice = choice
        self._workers = workers
        self._required = required
        self._warn = warn
        self._executor: RemoteExecutor | None = None
        self._problem = problem
        self._lock = threading.Lock()

    @functools.cached_property
    def _machines(self) -> list[Machine]:
        return [read_machine(path) for path in self._workers]

    def machine(self, requires: Mapping[str, str]) -> Machine | None:
        """The kind of worker for an action with these execution requirements, if one was told of; without, workers are like this machine.

        Raises WorkspaceError when what tells of them cannot be read.
        """
        gpu = requires.get("gpu")
        fitting = (each for each in self._machines if gpu is None or gpu in each.gpus)
        return next(fitting, None)

    @property
    def problem(self) -> str:
        """Why it cannot be used; empty when it can. Raises WorkspaceError when it must."""
        from enginewright.remote.errors import RemoteError

        with self._lock:
            if self._executor is None and not self._problem:
                try:
                    self._executor = self._connect()
                except RemoteError as error:
                    self._lost(str(error))
        return self._problem

    @contextmanager
    def run(self, spawn: Spawn, log: Path, stays: bool, bring: Callable[[], None]) -> Iterator[Result]:
        """As `enginewright.execute.remote.RemoteExecutor.run`, once ``problem`` has been found empty.

        Raises Unavailable when the action did not run; WorkspaceError when the executor cannot be reached any more and must be.
        """
        from enginewright.remote.errors import RemoteError
        from enginewright.remote.execution import GaveUpError

        assert self._executor is not None
        try:
            with self._executor.run(spawn, log, stays, bring) as result:
                yield result
        except GaveUpError as error:
            raise Unavailable(str(error)) from None
        except RemoteError as error:
            with self._lock:
                if not self._problem:
                    self._lost(str(error))
            raise Unavailable(str(error)) from None

    def _lost(self, problem: str) -> None:
        self._problem = problem
        if self._required:
            raise WorkspaceError(f"{problem} (--remote-required)")
        self._warn(f"{problem}; what this machine can run is run here")

    def stop(self) -> None:
        """Call off what runs there."""
        if self._executor is not None:
            self._executor.stop()

    def close(self) -> None:
        """Close the connection."""
        if self._executor is not None:
            self._executor.close()
