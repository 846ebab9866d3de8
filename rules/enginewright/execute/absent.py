"""The results of one build that were found in a cache shared with other machines, and those of their outputs that were left there.

An output that was left there is known by its digest, and is not below build/; it comes when an action that runs needs it. If the cache
has lost it by then, it is made again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable
from typing import TYPE_CHECKING

from enginewright.execute.outputs import Outputs
from enginewright.graph.action import Action, Artifact
from enginewright.graph.dag import Graph, Target
from enginewright.graph.label import Label
from enginewright.store.content import ContentStore
from enginewright.store.lock import shared
from enginewright.store.results import ActionCache, Result
from enginewright.store.snapshot import Snapshot
from enginewright.store.strong import StrongDigests

if TYPE_CHECKING:
    from enginewright.execute.sharing import Sharing
    from enginewright.execute.spawn import Spawn


class Absent:
    """``labels`` are the targets whose outputs, not all of them, were left in the cache ``sharing``; with None there are none.

    ``download`` is "all", "toplevel" or "minimal", ``asked`` the targets whose outputs are to be fetched with "toplevel". ``outdated`` are
    targets that were judged by bytes that had to be made again, and came out otherwise; those that are ``needed`` here are made again so
    that they come here. ``records`` keeps the results whose outputs were
    left there; ``claims`` is, for a build that only looks, what the cache said to earlier ones.
    """

    def __init__(
        self,
        graph: Graph,
        sharing: Sharing | None,
        download: str,
        outputs: Outputs,
        store: ContentStore,
        actions: ActionCache,
        snapshot: Snapshot,
        records: ActionCache | None,
        claims: StrongDigests | None,
    ) -> None:
        self.labels: set[Label] = set()
        self.outdated: set[Label] = set()
        self.needed: set[Label] = set()
        self.asked: Container[Label] = graph.deps
        self._graph = graph
        self._sharing = sharing
        self._download = download
        self._outputs = outputs
        self._store = store
        self._actions = actions
        self._snapshot = snapshot
        self._records = records
        self._claims = claims
        self._found: dict[str, Result] = {}
        self._bringing: dict[Label, threading.Lock] = {}
        self._lock = threading.Lock()

    def judge_together(self, labels: Iterable[Label], judge: Callable[[Label], bool], done: Callable[[Label], bool]) -> None:
        """Judge targets many at a time, as each waits for the cache, those first that the others depend on."""
        if self._sharing is None:
            return
        from concurrent.futures import ThreadPoolExecutor

        from enginewright.execute.sharing import LOOKUPS

        waiting = list(labels)
        with ThreadPoolExecutor(LOOKUPS) as pool:
            while ready := [label for label in waiting if all(map(done, self._graph.targets[label].deps))]:
                list(pool.map(judge, ready))
                judged = set(ready)
                waiting = [label for label in waiting if label not in judged]

    def record(self, key: str) -> Result | None:
        """The result of a key that was found in the cache by this build, or was left there by an earlier one."""
        return self._found.get(key) or (self._records.get(key) if self._records is not None else None)

    def look_up(self, spawn: Spawn) -> Result | None:
        """The result that the cache has of an action."""
        result = self._sharing.look_up(spawn) if self._sharing is not None else None
        if result is not None:
            self._found[spawn.key] = result
        return result

    def stays(self, label: Label, shares: bool) -> bool:
        """Whether the outputs of a target that runs elsewhere need not come here: ``shares`` says whether they are in the cache then."""
        return self._sharing is not None and shares and self._sharing.readable and not self._wanted(label)

    def leave(self, label: Label, action: Action, result: Result) -> None:
        """Take the result of an action that ran elsewhere for one that was found in the cache, and leave its outputs there."""
        self._found[result.key] = result
        for artifact in action.outputs.values():
            self._outputs.leave_out(artifact)
        self.labels.add(label)
        self.keep(result.key)

    def get(self, digest: str) -> bool:
        """Have the store get a file from the cache; False when it cannot be had."""
        with shared(self._store.root):
            return self._sharing is not None and self._sharing.fetch(digest, False)

    def have(self, label: Label, artifact: Artifact, digest: str) -> bool:
        """Put an output in place from the cache, or leave it there until it is needed; False when it cannot be had."""
        if self._sharing is None:
            return False
        if self._wanted(label):
            return self._fetch(artifact, digest)
        if not self._sharing.offers(digest, artifact.tree):
            return False
        self._outputs.leave_out(artifact)
        self.labels.add(label)
        return True

    def foretold(self, label: Label, artifact: Artifact, digest: str) -> bool:
        """To look only: whether the cache had an output when an earlier build asked, so that the next one leaves it there or fetches it."""
        blobs = [each.digest for each in self._store.tree(digest) or ()] if artifact.tree else [digest]
        if self._claims is None or not blobs or not all(map(self._claims.get, blobs)):
            return False
        if not self._wanted(label) and not self._outputs.present(artifact):
            self.labels.add(label)
        return True

    def _wanted(self, label: Label) -> bool:
        """Whether the outputs of a target are to be fetched, though no action needs them, or because one does."""
        return label in self.needed or self._download == "all" or (self._download == "toplevel" and label in self.asked)

    def keep(self, key: str) -> None:
        """Record a result that was found in the cache: as one of this machine's, if all its bytes are here by now."""
        result = self.record(key)
        if result is None or self._records is None:
            return
        if all(self._store.has(each.digest, each.tree) for each in result.outputs.values()):
            self._actions.put(result)
            self._records.drop(key)
        elif key in self._found:
            self._records.put(result)

    def disown(self, key: str) -> None:
        """Take the result of a key for none: its outputs cannot be had."""
        if self._sharing is not None:
            self._sharing.disown(key)

    def bring_inputs(self, target: Target, make_again: Callable[[Target], None]) -> None:
        """Put those inputs of a target's action in place that were left in the cache.

        ``make_again`` is called for a target whose outputs cannot be had any more; it raises ActionError when it cannot make them.
        """
        assert target.action is not None
        needed = {artifact.path for artifact in target.action.inputs.values()}
        for dep in target.deps:
            if dep in self.labels:
                with self._lock:
                    bringing = self._bringing.setdefault(dep, threading.Lock())
                with bringing:  # others may need the same
                    self._bring(self._graph.targets[dep], needed, make_again)

    def _bring(self, target: Target, paths: Container[str], make_again: Callable[[Target], None]) -> None:
        built = self._snapshot.target(str(target.label))
        assert target.action is not None and built is not None
        for name, artifact in target.action.outputs.items():
            digest = built.outputs[name]
            if artifact.path not in paths or self._outputs.intact(artifact, digest):
                continue
            if not (self._outputs.place(artifact, digest) or self._fetch(artifact, digest)):
                make_again(target)
                now = self._snapshot.target(str(target.label))
                if now is None or dict(now.outputs) != dict(built.outputs):
                    # What was found for the old bytes belongs together; the next build judges by the new ones.
                    self.outdated.update(self._graph.dependents([target.label]))
                return
        self.keep(built.key)

    def _fetch(self, artifact: Artifact, digest: str) -> bool:
        with shared(self._store.root):
            return self._sharing is not None and self._sharing.fetch(digest, artifact.tree) and self._outputs.place(artifact, digest)
