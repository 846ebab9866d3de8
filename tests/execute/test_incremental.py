"""Whatever is edited, and in whatever order: an incremental build leaves what a clean build of the same state makes."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

import enginewright.execute.build
from enginewright.doit_plugin.session import open_build
from enginewright.execute.isolation import AUDIT, Isolation
from enginewright.execute.local import Executor
from enginewright.execute.memory import STATE
from enginewright.execute.outcome import Status
from enginewright.execute.sandbox import Sandbox
from enginewright.execute.spawn import Input
from enginewright.graph.action import Action
from enginewright.graph.label import Label

EXAMPLES = int(os.environ.get("ENGINEWRIGHT_EXAMPLES") or 40)
"""Set the variable for a longer run: forty take half a minute."""

EDITS = 12
"""The most edits in an example; a build follows each."""

MAKE = '''
def make(inputs, outputs, params):
    """Of each input its bytes, or only their number, so that some changes go on and some end here; and the paths, or not."""
    if params["fails"]:
        raise ValueError("just so")
    for name, path in outputs.items():
        seen = [path, *(inputs[given] for given in sorted(inputs))] if params["signs"] else []
        parts = [str(each).rpartition("/root/")[2] for each in seen]
        for given, source in sorted(inputs.items()):
            text = source.read_text()
            parts.append(given + "=" + (str(len(text)) if params["counts"] else text))
        path.write_text(name * params["times"] + "(" + ", ".join(parts) + ")")
'''
NAMES = ["a", "b", "c", "d", "e", "f"]
SOURCES = ["0.txt", "1.txt", "2.txt"]
OUTPUTS = [{"out": "out"}, {"out": "out/deep"}, {"out": "out", "more": "more"}, {"out": "more"}]


@dataclass(frozen=True)
class Made:
    """A python_action(). ``deps`` are the places, in the workspace's list, of those it reads, all of them before its own."""

    name: str
    sources: frozenset[str]
    deps: frozenset[int]
    outputs: int = 0
    times: int = 1
    signs: bool = False
    counts: bool = False
    fails: bool = False


@dataclass(frozen=True)
class Declared:
    """All that a build depends on. ``image`` is the name of an image of everything that is made."""

    sources: tuple[str, ...]
    made: tuple[Made, ...]
    image: str

    def write(self, root: Path) -> None:
        """Write what is not there yet."""
        package = root / "models/x"
        package.mkdir(parents=True, exist_ok=True)
        lines = ["from enginewright import files_layer, image, python_action"]
        for each in self.made:
            inputs = {**{name: name for name in each.sources}, **{f"t{dep}": f":{self.made[dep].name}" for dep in each.deps}}
            params = {name: getattr(each, name) for name in ("times", "signs", "counts", "fails")}
            declared = {"name": each.name, "function": "make.py:make", "inputs": inputs, "outputs": OUTPUTS[each.outputs], "params": params}
            lines.append(f"python_action({', '.join(f'{name}={value!r}' for name, value in declared.items())})")
        lines.append(f"files_layer(name='layer', files={ {f'/t{i}/': f':{each.name}' for i, each in enumerate(self.made)} })")
        lines.append(f"image(name={self.image!r}, layers=[':layer'])")
        files = dict(zip(SOURCES, self.sources)) | {"make.py": MAKE, "BUILD.py": "\n".join(lines)}
        for name, text in files.items():
            if not (package / name).exists() or (package / name).read_text() != text:
                (package / name).write_text(text)

    def names(self) -> set[str]:
        return {*(each.name for each in self.made), self.image}

    def without(self, place: int) -> Declared:
        """This without one of the targets, and without what others have of it."""
        made = [replace(each, deps=frozenset(d - (d > place) for d in each.deps if d != place)) for each in self.made]
        return replace(self, made=(*made[:place], *made[place + 1 :]))

    def changed(self, place: int, **fields: Any) -> Declared:
        made = list(self.made)
        made[place] = replace(made[place], **fields)
        return replace(self, made=tuple(made))


@dataclass(frozen=True)
class Left:
    """What a build left: every file of the targets that it could make, and those it could not; and what it took."""

    files: dict[str, bytes]
    undone: set[str]
    ran: list[str]
    restored: set[str]


def build(root: Path, store: Path) -> Left:
    """Build a workspace as `doit build --continue` does."""
    os.environ["ENGINEWRIGHT_STORE"] = str(store)
    made = open_build(root)
    try:
        for label in made.pending(made.graph.closure(made.graph.select([]))):
            if not made.judge(label) and all(made.done(dep) for dep in made.graph.deps[label]):
                made.run(label)
    finally:
        made.close()
    files: dict[str, bytes] = {}
    for label, target in made.graph.targets.items():
        for artifact in target.action.outputs.values() if target.action and made.done(label) else ():
            path = root / artifact.path
            below = [path] if not artifact.tree else [each for each in path.rglob("*") if not each.is_dir()]
            files |= {each.relative_to(root).as_posix(): each.read_bytes() for each in below}
    outcomes = made.outcomes.values()
    return Left(
        files,
        undone={str(label) for label in made.graph.deps if not made.done(label)},
        ran=[outcome.key for outcome in outcomes if outcome.status is Status.BUILT],
        restored={str(outcome.label) for outcome in outcomes if outcome.status is Status.CACHED},
    )


def work_here(self: Executor, label: Label, action: Action, inputs: dict[str, Input], sandbox: Sandbox, log: Path) -> dict[str, Any]:
    """Run an action in its sandbox's folders, but in this process: a process of its own would take most of the time."""
    module, _, function = action.run.partition(":")
    path = list(sys.path)
    try:
        getattr(import_module(module), function)(
            {name: sandbox.root / artifact.path for name, artifact in action.inputs.items()},
            {name: sandbox.root / artifact.path for name, artifact in action.outputs.items()},
            json.loads(json.dumps(action.params)),
        )
    finally:
        sys.path[:] = path
    return {"error": None, "peak_rss": 1}


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Everything is as ever, but for the processes and the sync to disk."""
    monkeypatch.setattr(Executor, "_work", work_here)
    monkeypatch.setattr(Executor, "get_ready", lambda self: None)
    monkeypatch.setattr(Executor, "isolation", Isolation(AUDIT, "these actions run in the process of the test"))
    monkeypatch.setattr(enginewright.execute.build, "sync_file_system", lambda path: None)
    monkeypatch.setenv("ENGINEWRIGHT_STORE", "")
    monkeypatch.delitem(sys.modules, "make", raising=False)
    yield tmp_path
    sys.modules.pop("make", None)


class Incremental(RuleBasedStateMachine):
    """One workspace and its store, edited and built."""

    folder: Path

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.temporary = TemporaryDirectory(dir=self.folder)
        self.root, self.store = Path(self.temporary.name, "workspace"), Path(self.temporary.name, "store")
        self.root.mkdir()
        self.declared = Declared(("zero", "one", "two"), (), "e")
        for _ in range(data.draw(st.integers(2, 4), label="targets")):
            self.add(data)
        self.states = [self.declared]
        self.keys: set[str] = set()
        self.build()

    def teardown(self) -> None:
        self.temporary.cleanup()

    def add(self, data: st.DataObject) -> None:
        """Declare one more target."""
        free = sorted(set(NAMES) - self.declared.names())
        places = range(len(self.declared.made))
        made = Made(
            name=data.draw(st.sampled_from(free), label="name"),
            sources=data.draw(st.frozensets(st.sampled_from(SOURCES), max_size=2), label="sources"),
            deps=data.draw(st.frozensets(st.sampled_from(places), max_size=2) if places else st.just(frozenset()), label="deps"),
            outputs=data.draw(st.integers(0, len(OUTPUTS) - 1), label="outputs"),
            signs=data.draw(st.booleans(), label="signs"),
            counts=data.draw(st.booleans(), label="counts"),
        )
        self.declared = replace(self.declared, made=(*self.declared.made, made))

    def place(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.declared.made) - 1), label="place")

    def output(self, data: st.DataObject) -> Path:
        return self.root / data.draw(st.sampled_from(sorted(self.left.files)), label="output")

    @rule(which=st.integers(0, len(SOURCES) - 1), text=st.text("ab\n", max_size=3))
    def change_a_source(self, which: int, text: str) -> None:
        sources = list(self.declared.sources)
        sources[which] = text
        self.declared = replace(self.declared, sources=tuple(sources))

    @rule(data=st.data(), times=st.integers(1, 2), signs=st.booleans(), counts=st.booleans(), fails=st.sampled_from([False, False, True]))
    def change_parameters(self, data: st.DataObject, **params: Any) -> None:
        self.declared = self.declared.changed(self.place(data), **params)

    @rule(data=st.data(), which=st.sampled_from(SOURCES))
    def read_another_source_or_one_less(self, data: st.DataObject, which: str) -> None:
        place = self.place(data)
        self.declared = self.declared.changed(place, sources=self.declared.made[place].sources ^ {which})

    @precondition(lambda self: len(self.declared.made) > 1)
    @rule(data=st.data())
    def add_or_remove_an_edge(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(1, len(self.declared.made) - 1), label="place")
        dep = data.draw(st.integers(0, place - 1), label="dep")
        self.declared = self.declared.changed(place, deps=self.declared.made[place].deps ^ {dep})

    @rule(data=st.data(), outputs=st.integers(0, len(OUTPUTS) - 1))
    def change_outputs(self, data: st.DataObject, outputs: int) -> None:
        self.declared = self.declared.changed(self.place(data), outputs=outputs)

    @precondition(lambda self: len(self.declared.made) < len(NAMES) - 1)
    @rule(data=st.data())
    def add_a_target(self, data: st.DataObject) -> None:
        self.add(data)

    @precondition(lambda self: len(self.declared.names()) < len(NAMES))
    @rule(data=st.data())
    def rename_a_target(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.declared.made)), label="place")
        name = data.draw(st.sampled_from(sorted(set(NAMES) - self.declared.names())), label="name")
        image = place == len(self.declared.made)
        self.declared = replace(self.declared, image=name) if image else self.declared.changed(place, name=name)

    @precondition(lambda self: len(self.declared.made) > 1)
    @rule(data=st.data())
    def delete_a_target(self, data: st.DataObject) -> None:
        self.declared = self.declared.without(self.place(data))

    @rule(data=st.data())
    def revert_to_an_earlier_state(self, data: st.DataObject) -> None:
        self.declared = data.draw(st.sampled_from(self.states), label="state")

    @rule(data=st.data(), times=st.sampled_from([None, (0, 0)]))
    def touch(self, data: st.DataObject, times: tuple[int, int] | None) -> None:
        files = sorted(path for path in self.root.rglob("*") if path.is_file() and ".enginewright" not in path.parts)
        os.utime(data.draw(st.sampled_from(files), label="file"), times)

    @precondition(lambda self: self.left.files)
    @rule(data=st.data(), how=st.sampled_from(["others", "more", "none"]), old_time=st.booleans())
    def corrupt_an_output(self, data: st.DataObject, how: str, old_time: bool) -> None:
        output = self.output(data)
        status, content = output.stat(), output.read_bytes()
        time.sleep(0.01)  # the clock of the file system may stand still for as long, and nobody is that quick
        output.chmod(0o644)
        output.write_bytes({"others": bytes(byte ^ 1 for byte in content), "more": content + b"X", "none": b""}[how])
        if old_time:
            os.utime(output, ns=(status.st_atime_ns, status.st_mtime_ns))

    @precondition(lambda self: self.left.files)
    @rule(data=st.data(), by=st.sampled_from(["nothing", "folder", "link", "no folder"]))
    def replace_an_output(self, data: st.DataObject, by: str) -> None:
        output = self.output(data)
        if by == "no folder":
            shutil.rmtree(output.parent)
            return
        output.unlink()
        if by == "folder":
            (output / "inside").mkdir(parents=True)
        elif by == "link":
            output.symlink_to(self.root / "models/x/0.txt")

    @precondition(lambda self: (self.root / "build/models/x" / self.declared.image).is_dir())
    @rule()
    def add_a_file_to_the_image(self) -> None:
        (self.root / "build/models/x" / self.declared.image / "stray").write_text("stray")

    @rule()
    def lose_the_memory(self) -> None:
        shutil.rmtree(self.root / STATE)

    @invariant()
    def an_incremental_build_leaves_what_a_clean_one_does(self) -> None:
        if not hasattr(self, "left"):
            return
        self.build()
        self.states.append(self.declared)
        with TemporaryDirectory(dir=self.folder) as folder:
            clean = Path(folder, "workspace")
            self.declared.write(clean)
            made = build(clean, Path(folder, "store"))
        assert (self.left.files, self.left.undone) == (made.files, made.undone)
        # By now nothing was written so recently that it would have to be looked at again: what comes next relies on stats.
        again = build(self.root, self.store)
        assert (again.ran, again.restored, again.files) == ([], set(), made.files)

    def build(self) -> None:
        self.declared.write(self.root)
        self.left = build(self.root, self.store)
        # The store has every result: no action runs twice, whatever happened in between.
        assert self.keys.isdisjoint(self.left.ran) and len(set(self.left.ran)) == len(self.left.ran)
        self.keys.update(self.left.ran)


def test_incremental_builds_leave_what_clean_builds_make(in_process: Path) -> None:
    class Here(Incremental):
        folder = in_process

    run_state_machine_as_test(Here, settings=settings(max_examples=EXAMPLES, stateful_step_count=EDITS, report_multiple_bugs=False))
