from __future__ import annotations

import os
import socket
import stat
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import xxhash

from enginewright.errors import ActionError
from enginewright.graph.action import Artifact
from enginewright.store.digest import Entry, file_digest
from enginewright.store.results import Output, Result
from sandboxed import Sandbox

OUT = "build/models/x/t/out.txt"
TREE = {"out": Artifact("build/models/x/t", tree=True)}


@pytest.fixture
def meanwhile(sandbox: Sandbox) -> Callable[..., str | Result]:
    """Runs an action that takes its time, and does something once the action has printed that it started."""

    def run(function: str, then: Callable[[], object], **options: Any) -> str | Result:
        sandbox.log.unlink(missing_ok=True)
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(sandbox.run, function, **options)
            while not result.done() and not (sandbox.log.exists() and sandbox.log.read_text().endswith("\n")):
                threading.Event().wait(0.01)
            then()
        error = result.exception()
        assert error is None or isinstance(error, ActionError)
        return result.result() if error is None else str(error)

    return run


Meanwhile = Callable[..., str | Result]


def gone(process: int) -> None:
    """Waits until a process has ended; one that nobody waits for stays as a zombie."""
    while True:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state in "ZX":
            return
        threading.Event().wait(0.01)


def test_an_action_makes_its_outputs_from_its_inputs(sandbox: Sandbox) -> None:
    sandbox.write("models/x/b.txt", "second")
    sandbox.write("models/x/a.txt", "first ")
    outputs = {name: Artifact(f"build/models/x/t/{name}.txt") for name in ("one", "two")}
    result = sandbox.run("copy", inputs={"1": "a.txt", "2": "b.txt"}, outputs=outputs)
    digest = xxhash.xxh3_128_hexdigest(b"first second")
    assert result.outputs == {name: Output(f"build/models/x/t/{name}.txt", digest, 12) for name in outputs}
    assert sandbox.store.path(digest).read_text() == "first second"
    assert sandbox.log.read_text() == "copying 1 2\n"
    assert not (sandbox.root / OUT).exists()  # to put outputs in place is the build's work
    assert sandbox.left_over() == []


def test_the_record_of_a_run_tells_what_ran_and_where(sandbox: Sandbox) -> None:
    sandbox.write("models/x/a.txt")
    result = sandbox.run("copy", inputs={"in": "a.txt"}, requires={"network": ""})
    assert (result.label, result.host, len(result.key)) == ("models/x:t", socket.gethostname(), 32)
    assert result.sandbox == sandbox.executor.isolation.name
    assert result.material["mnemonic"] == "PythonAction"
    assert result.material["requires"] == {"network": ""}
    assert result.material["inputs"]["input/in"] == ("models/x/a.txt", file_digest(sandbox.root / "models/x/a.txt"))
    assert result.started > 0 and result.seconds > 0 and result.peak_rss > 1 << 20


def test_the_same_action_gives_the_same_result(sandbox: Sandbox) -> None:
    one, other = sandbox.run("parameters", a=1), sandbox.run("parameters", a=1)
    assert (one.key, one.outputs) == (other.key, other.outputs)
    assert sandbox.run("parameters", a=2).key != one.key


def test_parameters_arrive_as_json_gives_them_back(sandbox: Sandbox) -> None:
    params: dict[str, Any] = {"none": None, "list": [1, (2.5, "é\n")], "dict": {"a": True}, "large": 2**70}
    expected = {"none": None, "list": [1, [2.5, "é\n"]], "dict": {"a": True}, "large": 2**70}
    assert sandbox.text(sandbox.run("parameters", **params)) == repr(expected)


def test_two_inputs_may_be_one_file(sandbox: Sandbox) -> None:
    sandbox.write("models/x/a.txt")
    assert sandbox.text(sandbox.run("copy", inputs={"1": "a.txt", "2": "a.txt"})) == "texttext"


def test_a_machine_without_shared_memory_to_write_to(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enginewright.execute.sandbox.MEMORY", tmp_path / "there is none")
    assert sandbox.text(sandbox.run("put_away_streams")) == "done"


def test_actions_may_run_side_by_side(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: sandbox.run("parameters", i=i), range(6)))
    assert [sandbox.text(result) for result in results] == [repr({"i": i}) for i in range(6)]


def test_an_output_that_was_not_written(sandbox: Sandbox) -> None:
    assert sandbox.problem("nothing") == f"did not write its output {OUT}"


def test_an_output_of_the_wrong_kind(sandbox: Sandbox) -> None:
    sandbox.write("models/x/a.txt")
    assert sandbox.problem("folder") == f"made its output {OUT} a folder; it is declared as a file"
    assert sandbox.problem("copy", outputs=TREE) == "made its output build/models/x/t a file; it is declared as a folder"
    assert sandbox.problem("pipe") == f"made its output {OUT} a pipe, a socket or a device: write a file"
    assert sandbox.problem("link") == f"made its output {OUT} a symbolic link (to elsewhere): write the file itself"


def test_a_folder_is_an_output_with_all_its_files(sandbox: Sandbox) -> None:
    source = sandbox.write("models/x/a.txt", "linked")
    source.chmod(0o640)
    output = sandbox.run("tree", inputs={"in": "a.txt"}, outputs=TREE).outputs["out"]
    assert (output.path, output.size, output.tree) == ("build/models/x/t", 19, True)
    digests = {name: xxhash.xxh3_128_hexdigest(text) for name, text in [("a\nb", b"text"), ("empty", b""), ("linked", b"linked")]}
    assert sandbox.store.tree(output.digest) == [
        Entry("a\nb", False, digests["a\nb"]),
        Entry("bin/run", True, xxhash.xxh3_128_hexdigest(b"#!/bin/sh")),
        Entry("empty", False, digests["empty"]),
        Entry("linked", False, digests["linked"]),
    ]
    assert stat.S_IMODE(source.stat().st_mode) == 0o640 and source.stat().st_nlink == 1


def test_a_folder_with_a_symbolic_link_is_no_output(sandbox: Sandbox) -> None:
    assert sandbox.problem("tree_with_link", outputs=TREE) == (
        "its output build/models/x/t holds what cannot be stored: link is not a regular file; write files and folders only"
    )


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_an_output_that_is_linked_to_a_source_leaves_the_source_alone(sandbox: Sandbox, size: int) -> None:
    source = sandbox.write("models/x/a.txt", "x" * size)
    source.chmod(0o640)
    result = sandbox.run("link_to_input", inputs={"in": "a.txt"})
    source.write_text("edited")
    assert sandbox.text(result) == "x" * size
    assert stat.S_IMODE(source.stat().st_mode) == 0o640


def test_an_output_that_is_linked_to_an_input_is_not_copied(sandbox: Sandbox, tmp_path: Path) -> None:
    digest = sandbox.store.add_bytes(b"x" * (1 << 20))
    place = sandbox.root / "models/x/a.txt"
    assert sandbox.store.place(digest, place, tmp_path)
    before = sandbox.store.path(digest).stat()
    result = sandbox.run("link_to_input", inputs={"in": "a.txt"})
    assert result.outputs["out"].digest == digest
    assert sandbox.store.path(digest).stat().st_ino == place.stat().st_ino == before.st_ino


def test_an_output_that_is_linked_to_another_file_system_is_the_same(sandbox: Sandbox) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as other:
        other.write(b"text")
        other.flush()
        os.fchmod(other.fileno(), 0o700)
        if os.fstat(other.fileno()).st_dev == sandbox.root.stat().st_dev:
            pytest.skip("/dev/shm is on the file system of the temporary folder")
        (sandbox.root / "models/x/a.txt").symlink_to(other.name)
        listed = sandbox.run("tree", inputs={"in": "a.txt"}, outputs=TREE).outputs["out"].digest
    (sandbox.root / "models/x/a.txt").unlink()
    sandbox.write("models/x/a.txt").chmod(0o700)
    assert sandbox.run("tree", inputs={"in": "a.txt"}, outputs=TREE).outputs["out"].digest == listed


def test_an_action_that_fails_tells_its_line_and_leaves_its_words_in_the_log(sandbox: Sandbox) -> None:
    lines = (sandbox.root / "models/x/misdeeds.py").read_text().splitlines()
    number = lines.index('    raise ZeroDivisionError("just so")') + 1
    problem = sandbox.problem("fail")
    assert f"models/x/misdeeds.py:{number}" in problem and problem.endswith("ZeroDivisionError: just so")
    assert sandbox.log.read_text().startswith("about to fail\n")
    assert sandbox.left_over() == []


@pytest.mark.parametrize(
    ("signal", "told"),
    [("SIGKILL", "SIGKILL; was the machine out of memory?"), ("SIGSEGV", "SIGSEGV"), ("SIGTERM", "SIGTERM"), ("SIGABRT", "SIGABRT")],
)
def test_an_action_whose_process_is_killed(sandbox: Sandbox, signal: str, told: str) -> None:
    assert sandbox.problem("die", signal=signal) == f"its process was killed by {told}"


def test_folders_that_are_nested_too_deeply(sandbox: Sandbox) -> None:
    assert sandbox.problem("deep_folder") == "made folders in its outputs that are nested too deeply to be stored"
    assert sandbox.text(sandbox.run("put_away_streams")) == "done"
    sandbox.executor.close()
    sandbox.store.close()
    assert list((sandbox.store.root / "tmp").iterdir()) == []


def test_the_log_has_all_of_an_error_that_a_reason_was_made_of(sandbox: Sandbox) -> None:
    assert sandbox.problem("fail_for_another_reason") == "it failed"
    assert "{}[" in sandbox.log.read_text() and sandbox.log.read_text().endswith("KeyError: 'key'\n")


def test_an_action_may_put_away_its_standard_output(sandbox: Sandbox) -> None:
    assert sandbox.text(sandbox.run("put_away_streams")) == "done"


@pytest.mark.parametrize("status", [0, 3])
def test_an_action_that_leaves_without_a_word(sandbox: Sandbox, status: int) -> None:
    assert sandbox.problem("leave", status=status) == f"its process ended with status {status} and no result"


def test_an_action_that_exits(sandbox: Sandbox) -> None:
    assert sandbox.problem("leave_politely").endswith("SystemExit: enough")


def test_an_action_without_memory(sandbox: Sandbox) -> None:
    assert "MemoryError" in sandbox.problem("run_out_of_memory")


def test_a_reason_may_be_long(sandbox: Sandbox) -> None:
    assert "x" * 1_000_000 in sandbox.problem("fail_at_length")


def test_an_input_that_changes_while_the_action_runs_makes_its_result_worthless(sandbox: Sandbox, meanwhile: Meanwhile) -> None:
    file = sandbox.write("models/x/a.txt", "old")
    problem = "its input models/x/a.txt changed while it ran: the result was thrown away; build again"
    assert meanwhile("until_changed", lambda: file.write_text("new"), inputs={"in": "a.txt"}) == problem
    assert meanwhile("until_changed", file.unlink, inputs={"in": "a.txt"}) == problem


def test_so_does_a_folder_that_changes(sandbox: Sandbox, meanwhile: Meanwhile) -> None:
    file = sandbox.write("build/models/x/tree/a", "old")
    sandbox.write("build/models/x/tree/b", "old")
    options = {"trees": {"in": "build/models/x/tree"}}

    def replace_by_link() -> None:
        file.with_name("link").symlink_to("b")
        file.with_name("link").replace(file)

    problem = "its input build/models/x/tree changed while it ran: the result was thrown away; build again"
    assert meanwhile("until_changed", lambda: file.write_text("new"), **options) == problem
    assert meanwhile("until_changed", replace_by_link, **options) == problem
    file.unlink()
    file.write_text("old")
    assert meanwhile("until_changed", lambda: file.rename(file.with_name("c")), **options) == problem


def test_an_input_that_is_only_touched_or_linked_is_the_same(sandbox: Sandbox, meanwhile: Meanwhile, tmp_path: Path) -> None:
    file = sandbox.write("models/x/a.txt")
    assert isinstance(meanwhile("until_changed", lambda: os.utime(file), inputs={"in": "a.txt"}), Result)
    assert isinstance(meanwhile("until_changed", lambda: os.link(file, tmp_path / "link"), inputs={"in": "a.txt"}), Result)
    inside = sandbox.write("build/models/x/tree/a")
    options = {"trees": {"in": "build/models/x/tree"}}
    assert isinstance(meanwhile("until_changed", lambda: os.link(inside, tmp_path / "other"), **options), Result)


def test_stopping_kills_what_runs_with_all_its_children_and_starts_nothing_more(sandbox: Sandbox, meanwhile: Meanwhile) -> None:
    assert meanwhile("forever", sandbox.executor.stop) == "was interrupted"
    _, *processes = sandbox.log.read_text().split()
    for process in processes:
        gone(int(process))
    assert sandbox.problem("copy") == "was interrupted"
    assert sandbox.left_over() == []


def test_what_an_action_leaves_running_does_not_outlive_it(sandbox: Sandbox) -> None:
    assert sandbox.text(sandbox.run("leave_children")) == "done"
