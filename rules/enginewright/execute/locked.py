"""A build in which targets that cannot be made again are taken as a lock has them, from a store or the shared cache, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from enginewright.execute.build import Build
from enginewright.execute.outcome import Outcome, Status
from enginewright.execute.spawn import Input
from enginewright.graph.action import Action
from enginewright.graph.dag import Target
from enginewright.graph.difference import differences
from enginewright.graph.key import Material, material
from enginewright.graph.label import Label
from enginewright.store.digest import Entry, encode_tree, file_digests, tree_files
from enginewright.store.snapshot import Built


class Bytes(NamedTuple):
    """One output: the XXH3-128 by which the store has it, its SHA-256 and its size in bytes. A folder's digests are of its listing."""

    digest: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Pin:
    """A target's result as it was locked: its action key, its recipe (`enginewright.graph.key.Material.recipe`), its outputs by name."""

    key: str
    recipe: str
    outputs: Mapping[str, Bytes]


class LockedBuild(Build):
    """Takes the outputs of the targets in ``pins`` as they are there. No action runs whose outputs would not be the same again.

    Those are the actions with a pin, those that are `known_to_vary`, and those of which `doit verify` has found it.
    """

    def __init__(self, pins: Mapping[str, Pin], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pins = {label: pins[str(label)] for label in self.graph.deps if str(label) in pins}
        # What the last build left may be of other bytes.
        self.suspects.update(self.graph.dependents(self._pins))

    def _judge(self, target: Target) -> Outcome | None:
        pin = self._pins.get(target.label)
        behind = (self.outcomes.get(dep) for dep in target.deps)
        if pin is None or any(outcome is not None and outcome.status is Status.SKIPPED for outcome in behind):
            return super()._judge(target)
        return self._take(target, pin)

    def _lacks(self, target: Target) -> str:
        # What is locked is not run anywhere: that it could not be taken is what is wrong.
        return "" if target.label in self._pins else super()._lacks(target)

    def run(self, label: Label) -> Outcome:
        """Run a target's action, unless that would not give the same outputs again: then the outcome is a failure."""
        reason = self._refusal(self.graph.targets[label])
        if not reason:
            return super().run(label)
        with self._work() as worker:
            outcome = self.outcomes[label] = Outcome(label, Status.FAILED, reason=reason)
            began = self._draft.elapsed()
            self._draft.enter(str(label), outcome.status.value, "", None, self.previous_key(label), began, worker, reason, None)
        return outcome

    def _take(self, target: Target, pin: Pin) -> Outcome | None:
        """The outcome of a target whose outputs are in place as they were locked, or were put there; None when they cannot be had."""
        assert target.action is not None
        label, began = target.label, self._draft.elapsed()
        previous = self._previous.setdefault(label, self.last_key(label))
        made_from = self._made_from(target, self._materials.inputs(target))
        if made_from.recipe() != pin.recipe:
            self.reasons[label] = f"was locked as it was made with {self._other(pin.key, made_from)}"
            return None
        if pin.outputs.keys() != target.action.outputs.keys():
            self.reasons[label] = f"was locked with other outputs: {', '.join(sorted(pin.outputs))}"
            return None
        wrong = {name: each for name, each in target.action.outputs.items() if not self._outputs.intact(each, pin.outputs[name].digest)}
        with self._work() as worker:
            if any(artifact.tree for artifact in wrong.values()) and self._placement.has_toolchain(target):
                # Of a folder the lock has the digest of its listing, which comes with the result that the cache has of the action.
                self._absent.look_up(self._materials.spawn(target))
            for name, artifact in wrong.items():
                locked = pin.outputs[name]
                if self.sharing is not None and not artifact.tree:
                    self.sharing.claim(locked.digest, locked.sha256, locked.size)
                if not self._have(label, artifact, locked.digest):
                    where = "the store" if self.sharing is None else "the store nor in the remote cache"
                    self.reasons[label] = f"is locked as {artifact.path} of sha256:{locked.sha256}, which is not in {where}"
                    return None
        for name, artifact in target.action.outputs.items():
            path = self._root / artifact.path
            if not self.look_only and path.exists() and (found := sha256_of(path, artifact.tree)) != pin.outputs[name].sha256:
                self.reasons[label] = f"{artifact.path} has sha256:{found}, and sha256:{pin.outputs[name].sha256} is locked"
                return None
        self._snapshot.set_target(str(label), Built(pin.key, {name: each.digest for name, each in pin.outputs.items()}))
        if not wrong:
            return Outcome(label, Status.UP_TO_DATE, key=pin.key)
        outcome = Outcome(label, Status.CACHED, key=pin.key)
        self._draft.enter(str(label), outcome.status.value, pin.key, None, previous, began, worker, "as it is locked", None)
        return outcome

    def _refusal(self, target: Target) -> str:
        """Why an action must not run; empty when it may."""
        label = target.label
        if label in self._pins:
            reason = self.reasons.get(label, "is locked")
            first = "put that back" if reason.startswith("was locked") else "bring the locked bytes there"
            return f"{reason}: {first}, or build it without --locked where it can be built, and run doit lock"
        found = self.reproducibilities.get(self.material(label).key())
        if found.reproducible == "bit" if found else not (target.action and known_to_vary(target.action)):
            return ""
        return "would not come out the same again, and is not in the lock: build it without --locked, and run doit lock"

    def _other(self, key: str, now: Material) -> str:
        """In what the action of a locked result was another, by its record, if that is here."""
        record = self.record(key)
        found = differences(Material(**record.material), now) if record else []
        named = [f"another {each.kind} {each.path or each.name}" for each in found if each.kind not in ("toolchain", "platform")]
        return ", ".join(named) or "other inputs, parameters or code"

    def _made_from(self, target: Target, inputs: Mapping[str, Input]) -> Material:
        """What a result's recipe covers, which can be told on any machine."""
        assert target.action is not None
        digests = {name: each.digest for name, each in inputs.items()}
        code = self._loaded.installation.code(target.action.run.partition(":")[0])
        return material(target.action, inputs=digests, code=code, toolchain={}, platform="")


def known_to_vary(action: Action) -> bool:
    """Whether an action, unless `doit verify` finds otherwise, makes other bytes each time.

    So do those that say so, and those that need a GPU, by whose measurements TensorRT chooses kernels.
    """
    return action.varies or "gpu" in action.requires


def sha256_of(path: Path, tree: bool) -> str:
    """The SHA-256 of a file, or of the listing of a folder's files by their SHA-256, as 64 hexadecimal digits. Raises OSError."""
    if not tree:
        return file_digests(path)[1]
    import hashlib

    entries = [Entry(name, bool(file.stat().st_mode & 0o100), file_digests(file)[1]) for name, file in tree_files(path)]
    return hashlib.sha256(encode_tree(entries)).hexdigest()
