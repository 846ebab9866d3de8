"""One build of one workspace: which targets are stale, what is restored, what runs.

Keys hold digests of inputs, never keys of producers, so a target can be judged once its dependencies are done, and nothing
downstream of unchanged bytes runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from enginewright.errors import ActionError, DeclarationError, WorkspaceError, in_words
from enginewright.execute.absent import Absent
from enginewright.execute.elsewhere import Elsewhere, Unavailable
from enginewright.execute.isolation import Isolation
from enginewright.execute.ledger import LEDGER, Draft
from enginewright.execute.local import Executor
from enginewright.execute.materials import Materials
from enginewright.execute.memory import STATE, Loaded, remember
from enginewright.execute.outcome import Outcome, Status
from enginewright.execute.outputs import Outputs
from enginewright.execute.placement import Placement
from enginewright.execute.previous import offering
from enginewright.execute.resources import Need, Resources, alone_on_gpu, machine_memory, need
from enginewright.execute.spawn import Spawn
from enginewright.execute.workers import Workers
from enginewright.execute.written import Written, is_dated
from enginewright.graph.action import Artifact
from enginewright.graph.dag import Target
from enginewright.graph.key import Material
from enginewright.graph.label import Label
from enginewright.graph.schedule import contracted
from enginewright.store.content import ContentStore
from enginewright.store.files import sync_file_system
from enginewright.store.reproducibility import Reproducibilities
from enginewright.store.results import ActionCache, Result
from enginewright.store.snapshot import Built, Snapshot
from enginewright.store.strong import StrongDigests

if TYPE_CHECKING:
    from enginewright.execute.sharing import Sharing

_WAIT = 0.05
"""Seconds between two looks at how many results have yet to be written to the shared cache."""


class Build:
    """The state of one build. `judge` decides without running anything; `run` runs an action.

    ``processes`` is how many processors actions may take at once, and ``workers`` what starts their processes. With
    ``look_only`` nothing is restored and nothing is remembered: a target is cached when the store has its result. ``reasons``
    says of targets that must run, or were restored, what their keys do not tell. ``sharing`` is the cache that is shared with other
    machines; ``download`` says which outputs of the results found there are placed: "all", "toplevel", those of targets that were asked
    for, or "minimal", none. The others stay there until an action needs them; ``claims`` is what it said, for a build that only looks.
    ``elsewhere`` is the remote executor.
    """

    def __init__(
        self,
        root: Path,
        loaded: Loaded,
        store: Path,
        snapshot: Snapshot,
        processes: int = 1,
        look_only: bool = False,
        workers: Workers | None = None,
        sharing: Sharing | None = None,
        download: str = "all",
        elsewhere: Elsewhere | None = None,
        claims: StrongDigests | None = None,
    ) -> None:
        self.look_only = look_only
        self.graph = loaded.graph
        self.suspects = loaded.suspects
        self.outcomes: dict[Label, Outcome] = {}
        self.reasons: dict[Label, str] = {}
        self._previous: dict[Label, str] = {}
        self._spoilt: set[Label] = set()
        self._draft = Draft()
        self._root = root
        self._state = root / STATE
        self._staging = self._state / "tmp"
        if not look_only:
            self._staging.mkdir(parents=True, exist_ok=True)
        self._store = ContentStore(store)
        self._actions = ActionCache(store / "actions")
        self.reproducibilities = Reproducibilities(store)
        self._snapshot = snapshot
        self._loaded = loaded
        self._outputs = Outputs(root, self._staging, self._store, snapshot)
        self.sharing = sharing
        left = ActionCache(self._state / "left") if sharing is not None or claims is not None else None
        self._absent = Absent(self.graph, sharing, download, self._outputs, self._store, self._actions, snapshot, left, claims)
        self._executor = Executor(root, self._store, loaded.installation, workers)
        self._elsewhere = elsewhere
        self._placement = Placement(loaded.installation, elsewhere, look_only)
        self._materials = Materials(
            root, self.graph, snapshot, loaded.installation, self._placement, self.done, lambda artifact: written.write(artifact, look_only)
        )
        written = Written(root, self._state, self.graph, snapshot, self._actions, self.reproducibilities, self.done, self._materials.of)
        self._resources = Resources(processes, machine_memory())
        self._processes = processes
        self._busy: set[int] = set()
        self._closing = False
        self._ended = threading.Condition()

    @property
    def isolation(self) -> Isolation:
        """What keeps actions to what they declare on this machine. Raises WorkspaceError when it cannot be what it should be."""
        return self._executor.isolation

    @property
    def remote_jobs(self) -> int:
        """How many actions may be under way elsewhere at once, beside those that run here."""
        return self._placement.remote_jobs

    def log(self, label: Label) -> Path:
        """Where what an action printed is kept."""
        return self._state / "logs" / label.package / f"{label.name}.log"

    def record(self, key: str) -> Result | None:
        """The record of the run that gave the result of this key, unless the store lost it."""
        return self._absent.record(key) or self._actions.get(key)

    def last_key(self, label: Label) -> str:
        """The key of a target's last result in this workspace; empty when there is none."""
        built = self._snapshot.target(str(label))
        return built.key if built else ""

    def reason(self, label: Label) -> str:
        """What the key of a target does not tell of why it must run, or was restored; known of some before they can be judged."""
        built = self._snapshot.target(str(label))
        return self.reasons.get(label, "") or ("forgotten" if built is not None and built.key == "" else "")

    def previous_key(self, label: Label) -> str:
        """The key of a target's last result before this build; empty when there was none, or it failed or was forgotten since."""
        return self._previous.get(label, self.last_key(label))

    def material(self, label: Label) -> Material:
        """What a target's key covers; the digest of an input that is yet to be made is empty.

        Only for a target with an action, once `pending` has seen it and not skipped it.
        """
        target = self.graph.targets[label]
        return self._materials.of(target)

    def pending(self, labels: Iterable[Label], asked: Container[Label] | None = None) -> list[Label]:
        """Judge these targets, given with all they depend on, dependencies first; return those that may have to run.

        Outputs that a cached result has are restored on the way; ``asked`` are the targets whose outputs a user wants to see, all if it
        is not given. Raises DeclarationError when a source or a distribution is missing.
        """
        self._absent.asked = self.graph.deps if asked is None else asked
        wanted = [label for label in labels if label in self.suspects]
        if wanted and not self.look_only:
            self._executor.get_ready()
        self._materials.look_at(self.graph.targets[label] for label in wanted)
        self._absent.judge_together(wanted, self.judge, self.done)
        return [label for label in wanted if not self.judge(label)]

    def cannot_run(self, label: Label) -> str:
        """Why this machine cannot build a target that has yet to be built, or what it depends on; empty when it can."""
        return self.blocked(self.graph.closure([label])).get(label, "")

    def blocked(self, labels: Iterable[Label]) -> dict[Label, str]:
        """Of targets given with all they depend on, dependencies first: those that `cannot_run`, and why."""
        found: dict[Label, str] = {}
        for label in labels:
            outcome, target = self.outcomes.get(label), self.graph.targets[label]
            if outcome is not None and outcome.status is Status.SKIPPED:
                found[label] = outcome.reason
            elif not self.done(label):
                behind = (_passed_on(dep, found[dep]) for dep in self.graph.deps[label] if dep in found)
                if reason := (self._lacks(target) if target.action else "") or next(behind, ""):
                    found[label] = reason
        return found

    def _lacks(self, target: Target) -> str:
        """Why a target's action cannot run; empty when it can, or is not to."""
        return self._placement.unmet(target)

    def judge(self, label: Label) -> bool:
        """Whether a target is done without running anything: up to date, restored from the store, or skipped.

        False also when a dependency is not done yet.
        """
        if label in self.suspects and label not in self.outcomes:
            target = self.graph.targets[label]
            if all(self.done(dep) for dep in target.deps):
                outcome = self._judge(target)
                if outcome is not None:
                    self.outcomes[label] = outcome
        return self.done(label)

    def done(self, label: Label) -> bool:
        """Whether there is nothing more to do for a target, and those that depend on it can be judged."""
        if label not in self.suspects:
            return True
        return label in self.outcomes and self.outcomes[label].status is not Status.FAILED

    def _judge(self, target: Target) -> Outcome | None:
        label = target.label
        if target.action is None:
            return Outcome(label, Status.UP_TO_DATE)
        for dep in target.deps:
            if dep in self.outcomes and self.outcomes[dep].status is Status.SKIPPED:
                return Outcome(label, Status.SKIPPED, reason=_passed_on(dep, self.outcomes[dep].reason))
        # What this machine cannot run may still have been run by another that shares the store.
        outcome = self._reuse(target) if self._placement.has_toolchain(target) else None
        if outcome is None and (reason := self._placement.unmet(target)):
            return Outcome(label, Status.SKIPPED, reason=reason)
        return outcome

    def _reuse(self, target: Target) -> Outcome | None:
        """The outcome of a target that has a result, its outputs in place or restored; None when its action must run."""
        assert target.action is not None
        label = target.label
        began = self._draft.elapsed()
        spawn = self._materials.spawn(target)
        key, previous = spawn.key, self._previous.setdefault(label, self.last_key(label))
        built = self._snapshot.target(str(label))
        if built is not None and built.key == "":
            self.reasons[label] = "forgotten"
            return None
        for result, digests in self._candidates(spawn, built):
            wrong = {
                name: artifact for name, artifact in target.action.outputs.items() if not self._outputs.intact(artifact, digests[name])
            }
            missing = ", ".join(artifact.path for artifact in wrong.values()) if result is None and label not in self._absent.labels else ""
            reason = self.reasons[label] = f"{missing} missing or changed on disk" if missing else ""
            with self._work() as worker:
                if not all(self._have(label, artifact, digests[name]) for name, artifact in wrong.items()):
                    self.reasons[label] = f"{reason}; result not in the store".removeprefix("; ")
                    continue
            if not self.look_only:
                self._absent.keep(key)
                if wrong or result:
                    self._actions.use(key)
                self._clear(target, key, previous)
            self._snapshot.set_target(str(label), Built(key, digests))
            if result is None and (not wrong or label in self._absent.labels):
                self.reasons[label] = ""
                return Outcome(label, Status.UP_TO_DATE, key=key)
            outcome = Outcome(label, Status.CACHED, key=key)
            self._draft.enter(str(label), outcome.status.value, key, spawn.material, previous, began, worker, reason, None)
            return outcome
        self._absent.disown(key)
        return None

    def _candidates(self, spawn: Spawn, built: Built | None) -> Iterator[tuple[Result | None, Mapping[str, str]]]:
        """Results of a key and the digests of their outputs, the nearest first; None stands for the last result of this workspace."""
        if built is not None and built.key == spawn.key:
            yield None, built.outputs
        elif (result := self._actions.get(spawn.key)) is not None:
            yield result, {name: output.digest for name, output in result.outputs.items()}
        if (result := self._absent.look_up(spawn)) is not None:
            yield result, {name: output.digest for name, output in result.outputs.items()}

    def _have(self, label: Label, artifact: Artifact, digest: str) -> bool:
        """Put an output in place, or have it wait where it is until somebody needs it; to look only, say whether the store has it."""
        if self.look_only:
            return self._outputs.stored(artifact, digest) or self._absent.foretold(label, artifact, digest)
        return self._outputs.place(artifact, digest) or self._absent.have(label, artifact, digest)

    def _make_again(self, target: Target) -> None:
        """Run the action of a target whose outputs the shared cache had, and lost since. Raises ActionError when that cannot be done."""
        label = target.label
        reason = self._placement.unmet(target)
        if not reason:
            self.reasons[label] = "the remote cache has lost an output that is needed"
            self._absent.needed.add(label)
            outcome = self.run(label)
            if outcome.status is not Status.FAILED:
                return
            reason = f"failed when it was made again: {outcome.reason}"
        raise ActionError(f"needs {label}, which the remote cache no longer has and which {reason}")

    def _mend_inputs(self, target: Target) -> None:
        """Restore those inputs of a target's action that somebody wrote to after they were made, or found to be as they were made.

        Their digests are in its key: bytes that are others must not become a result. Raises ActionError where the store has none better.
        """
        assert target.action is not None
        needed = {artifact.path for artifact in target.action.inputs.values()}
        for dep in target.deps:
            action, built = self.graph.targets[dep].action, self._snapshot.target(str(dep))
            if action is None or built is None or dep in self._absent.labels:
                continue
            for name, artifact in action.outputs.items():
                digest = built.outputs[name]
                if artifact.path not in needed or self._outputs.untouched(artifact, digest) or self._outputs.intact(artifact, digest):
                    continue
                if not self._outputs.place(artifact, digest):
                    self._spoilt.add(dep)
                    raise ActionError(f"its input {artifact.path} was changed by something else after it was made: build again")

    def run(self, label: Label) -> Outcome:
        """Run a target's action and put its outputs in place. A failure is an outcome, not an exception."""
        target = self.graph.targets[label]
        with self._work() as worker:
            began = self._draft.elapsed()
            try:
                elsewhere = self._placement.remote(target)
                there = self._run(target, worker, elsewhere) if elsewhere is not None else None
                if there is None:
                    self._absent.bring_inputs(target, self._make_again)
                    self._mend_inputs(target)
            except (ActionError, DeclarationError, WorkspaceError, OSError) as error:
                self.outcomes[label] = outcome = self._failed(target, error)
                self._draft.enter(str(label), outcome.status.value, "", None, self.previous_key(label), began, worker, outcome.reason, None)
                return outcome
        self.outcomes[label] = there or self._run_here(target)
        return self.outcomes[label]

    def _run_here(self, target: Target) -> Outcome:
        need = self._need(target)
        with self._work() as worker, self._resources.hold(need), alone_on_gpu(need.gpu, lambda: self._closing):
            if self._closing:  # after Ctrl-C, doit's threads go on for a while
                return Outcome(target.label, Status.FAILED, reason="was interrupted")
            outcome = self._run(target, worker)
            assert outcome is not None
            return outcome

    @contextmanager
    def apart(self) -> Iterator[tuple[Executor, ContentStore]]:
        """An executor with a store of its own, in which nothing is yet, and which goes with it: for `again`."""
        store = ContentStore(self._store.scratch / "apart")
        executor = Executor(self._root, store, self._loaded.installation, beside=self._store.root)
        try:
            yield executor, store
        finally:
            executor.stop()
            executor.close()
            store.close()

    @contextmanager
    def again(self, label: Label, executor: Executor, log: Path) -> Iterator[Result]:
        """Run a target's action once more, with the inputs that it has now, and leave what the target has alone.

        Raises what `Executor.run` does. What the action printed goes to ``log``.
        """
        target = self.graph.targets[label]
        assert target.action is not None
        self._absent.bring_inputs(target, self._make_again)
        self._mend_inputs(target)
        need, spawn = self._need(target), self._materials.spawn(target)
        with self._resources.hold(need), alone_on_gpu(need.gpu, lambda: self._closing), executor.run(spawn, log) as result:
            yield result

    def _need(self, target: Target) -> Need:
        assert target.action is not None
        last = self.record(self.last_key(target.label))
        return need(target.action.requires, last.peak_rss if last else 0)

    @contextmanager
    def _work(self) -> Iterator[int]:
        """Keep `close` waiting, and give the lowest number that nobody else has meanwhile."""
        with self._ended:
            worker = next(number for number in count() if number not in self._busy)
            self._busy.add(worker)
        try:
            yield worker
        finally:
            with self._ended:
                self._busy.remove(worker)
                self._ended.notify_all()

    def _run(self, target: Target, worker: int, elsewhere: Elsewhere | None = None) -> Outcome | None:
        """Run an action here, or elsewhere; None when it did not run there, and is to run here after all."""
        assert target.action is not None
        label = target.label
        began, previous = self._draft.elapsed(), self._previous.setdefault(label, self.last_key(label))
        spawn = result = None
        stays = elsewhere is not None and self._absent.stays(label, elsewhere.shares)
        try:
            self.log(label).unlink(missing_ok=True)
            spawn = self._materials.spawn(target)
            with self._running(target, spawn, previous, elsewhere, stays) as result:
                if stays:
                    self._absent.leave(label, target.action, result)
                else:
                    self._take_in(spawn, result)
                if target.action.previous:
                    self._actions.set_latest(str(label), spawn.key)
                if self.sharing is not None and (elsewhere is None or not elsewhere.shares):
                    self.sharing.offer(spawn, result)
            self._clear(target, spawn.key, previous)
            self._snapshot.set_target(str(label), Built(spawn.key, {name: output.digest for name, output in result.outputs.items()}))
            if elsewhere is None:
                self._snapshot.linked(path for artifact in target.action.inputs.values() for path in self._outputs.files(artifact))
            outcome = Outcome(label, Status.BUILT, key=spawn.key, seconds=result.seconds, host=result.host if elsewhere is not None else "")
        except Unavailable as problem:
            if not (unmet := self._placement.retreat(target)):
                return None
            outcome = self._failed(target, ActionError(f"{problem}; and this machine cannot run it: it {unmet}"))
        except (ActionError, DeclarationError, WorkspaceError, OSError) as error:
            outcome = self._failed(target, error)
        reason, key, material = outcome.reason or self.reasons.get(label, ""), "", None
        if spawn is not None:
            key, material = spawn.key, spawn.material
        self._draft.enter(str(label), outcome.status.value, key, material, previous, began, worker, reason, result)
        return outcome

    def _clear(self, target: Target, key: str, previous: str) -> None:
        """Take away what a target made when its key was another, and makes no more: a layer in another compression, say."""
        assert target.action is not None
        last = self.record(previous) if previous and previous != key else None
        own = {artifact.path for artifact in target.action.outputs.values()}
        if last is not None and (former := [each for each in last.outputs.values() if each.path not in own]):
            actions = (each.action for each in self.graph.targets.values() if each.action is not None)
            self._outputs.clear(former, {artifact.path for action in actions for artifact in action.outputs.values()})

    @contextmanager
    def _running(self, target: Target, spawn: Spawn, previous: str, elsewhere: Elsewhere | None, stays: bool) -> Iterator[Result]:
        """Run an action, here or elsewhere; in the context its outputs stay in the store, or, if it ``stays``, there."""
        label, last, log = target.label, None, self.log(target.label)
        if spawn.action.previous and self.reason(label) != "forgotten":  # who has a target forgotten wants it made from nothing
            last = self.record(previous) if previous else self._actions.latest(str(label))
        with offering(spawn, last, self._store, self._staging, self._absent.get) as spawn:
            running = (
                self._executor.run(spawn, log)
                if elsewhere is None
                else elsewhere.run(spawn, log, stays, lambda: self._absent.bring_inputs(target, self._make_again))
            )
            with running as result:
                yield result

    def _take_in(self, spawn: Spawn, result: Result) -> None:
        """Keep the result of an action that ran, and put its outputs, which are in the store, in place. Raises ActionError."""
        self._actions.put(result)
        if not all(self._outputs.place(artifact, result.outputs[name].digest) for name, artifact in spawn.action.outputs.items()):
            raise ActionError("its outputs vanished from the store: is another process clearing it?")
        self._absent.labels.discard(spawn.label)

    def _failed(self, target: Target, error: Exception) -> Outcome:
        """The outcome of a target that failed, with nothing left that might be taken for what it would have made."""
        self._snapshot.set_target(str(target.label), None)
        for artifact in target.action.outputs.values() if target.action else ():
            self._outputs.remove(artifact.path)
        return Outcome(target.label, Status.FAILED, reason=in_words(error) if isinstance(error, OSError) else str(error))

    def forget(self, labels: Iterable[Label]) -> None:
        """Have the next build run these targets' actions, cached or not."""
        for label in labels:
            if self.graph.targets[label].action is not None:
                self._snapshot.set_target(str(label), Built("", {}))
                self.suspects.add(label)

    def finish(self, tell: Callable[[int], None]) -> None:
        """Wait until all results are written to the shared cache. ``tell`` is given how many are left."""
        while self.sharing is not None and (left := self.sharing.uploading):
            tell(left)
            time.sleep(_WAIT)

    def close(self, args: Sequence[str] = ()) -> None:
        """Stop what runs, wait until it has cleaned up after itself, and save what was learnt.

        ``args`` are the labels that the build was given, for the ledger.
        """
        with self._ended:
            self._closing = True
        self._executor.stop()
        if self._elsewhere is not None:
            self._elsewhere.stop()
        with self._ended:
            self._ended.wait_for(lambda: not self._busy)
        settled = (Status.BUILT, Status.CACHED, Status.UP_TO_DATE)
        unsettled = {
            label
            for label in self.suspects
            if label not in self.outcomes or self.outcomes[label].status not in settled or is_dated(self.graph.targets[label].action)
        }
        unsettled |= self._absent.labels | self._absent.outdated | self._spoilt
        if self._outputs.placed:
            # One barrier for all that was placed: what the snapshot says of a file must not outlive its bytes in a power cut.
            # Blobs and records need none: they are checked whenever they are used.
            sync_file_system(self._root)
        self._executor.close()
        if self._elsewhere is not None:
            self._elsewhere.close()
        if self.sharing is not None:
            self.sharing.close()
        self._store.close()
        remember(self._snapshot, self._loaded, unsettled, self.reproducibilities.folder)
        self._snapshot.save()
        self._draft.append(self._root / LEDGER, self._skipped(), args, self._processes)

    def _skipped(self) -> dict[str, tuple[str, list[str]]]:
        """Of what was skipped the reason, and what it depends on: for a group its members."""
        reasons = {label: outcome.reason for label, outcome in self.outcomes.items() if outcome.status is Status.SKIPPED}
        if not reasons:
            return {}
        kept = dict.fromkeys([*(label for label in self.graph.deps if label not in self.graph.groups), *reasons])
        deps = contracted({label: self.graph.deps[label] for label in self.graph.closure(reasons)}, kept)
        return {str(label): (reason, list(map(str, deps[label]))) for label, reason in reasons.items()}

    def unmet(self, target: Target) -> str:
        """Why this machine cannot run a target's action; empty when it can."""
        return self._placement.unmet_here(target)


def _passed_on(dep: Label, reason: str) -> str:
    """Why a target cannot be built, given why one that it depends on cannot; the first in the chain is named."""
    return reason if reason.startswith("depends on ") else f"depends on {dep}, which {reason}"
