"""What another machine, one that can build a target, has put into the store and locked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enginewright.doit_plugin.session import open_build
from enginewright.graph.label import Label
from enginewright.release.lock import Locked, Pinned, parse, render
from enginewright.store.digest import file_digests
from throwaway import Workspace


def lock_elsewhere(workspace: Workspace, label: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a workspace's lock, which there is, and its store the one output ``out`` of a target: these data."""
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("ENGINEWRIGHT_STORE", str(workspace.store))
    build = open_build(workspace.root, look_only=True)
    build.pending(build.graph.closure([Label.parse(label)]))
    made = workspace.root / "made"
    made.write_text(data)
    fast, strong = file_digests(made)
    blob = workspace.store / "blobs" / fast[:2] / fast
    blob.parent.mkdir(parents=True, exist_ok=True)
    made.rename(blob)
    lock = parse(workspace.read("build.lock"))
    pinned = Pinned("unknown", "0" * 32, build.material(Label.parse(label)).recipe(), {"out": Locked(strong, len(data), fast)})
    workspace.write({"build.lock": render(replace(lock, outputs={**lock.outputs, label: pinned}))})
