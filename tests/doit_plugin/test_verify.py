"""`doit verify` in throw-away workspaces: what is found, shown, kept, and left alone."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from throwaway import Pipe, Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"
CHANCE, CLOSE = "models/z:chance", "models/z:close"

Z = """
from enginewright import python_action

python_action(name="chance", function="make.py:chance", outputs={"out": "out.txt", "same": "same.txt"})
python_action(name="close", function="make.py:close", outputs={"report": "report.json"})
python_action(name="gpu", function="make.py:copy", outputs={"out": "out.txt"}, requires={"gpu": "sm_00"})
"""
RANDOM = """
import json
import os


def chance(inputs, outputs, params):
    outputs["out"].write_text("always" + os.urandom(8).hex())
    outputs["same"].write_text("always")


def close(inputs, outputs, params):
    outputs["report"].write_text(json.dumps({"speed": 1.0 + os.urandom(1)[0] * 1e-6 + os.urandom(1)[0] * 1e-7, "name": "x"}))
"""


@pytest.fixture
def random(empty: Workspace) -> Workspace:
    """A workspace whose models/z has actions that are not the same twice, and one that cannot run anywhere."""
    empty.write({"models/z/BUILD.py": Z, "models/z/make.py": RANDOM})
    return empty


def test_what_is_the_same_again_is_bit(workspace: Workspace) -> None:
    done = workspace.doit("verify", "//models/x/...")
    assert "built 3, cached 0" in done.stderr
    assert {line.split()[2] for line in done.stdout.splitlines() if " bit  " in line} == {A, B, C}
    assert done.stdout.splitlines()[-1].startswith("bit 3, numerical 0, none 0, failed 0, skipped 0 in ")
    # Each action ran twice, and the second run left everything alone.
    assert sorted(workspace.trace.lines()) == [A, A, B, B, C, C]
    assert workspace.build("models/x").up_to_date == {A, B, C}
    assert workspace.leftovers() == []


def test_only_what_is_named_runs_again_unless_dependencies_are_asked_for(workspace: Workspace) -> None:
    workspace.build()
    workspace.doit("verify", C)
    assert workspace.trace.lines() == [C]
    workspace.doit("verify", C, "--deps")
    assert sorted(workspace.trace.lines()) == [A, B, C]


def test_what_is_not_the_same_is_told_apart(random: Workspace) -> None:
    done = random.doit("verify", "...", code=1)
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("bit 0, numerical 1, none 1, failed 0, skipped 1 in ")
    assert any(line.startswith("        skipped    models/z:gpu: needs a GPU of architecture sm_00") for line in lines)
    at = next(i for i, line in enumerate(lines) if line[8:].startswith(f"none       {CHANCE}"))
    assert lines[at + 1].strip() == "build/models/z/chance/out.txt: none"
    assert lines[at + 2].strip().startswith("byte ")
    at = next(i for i, line in enumerate(lines) if line[8:].startswith(f"numerical  {CLOSE}"))
    assert lines[at + 1].strip() == "build/models/z/close/report.json: numerical (numbers are within 0.1 %)"
    assert lines[at + 2].strip().startswith("speed: 1.0")


def test_the_least_that_is_asked_for(random: Workspace) -> None:
    random.doit("verify", CLOSE)
    random.doit("verify", CLOSE, "--require=bit", code=1)
    random.doit("verify", CHANCE, "--require=none")
    assert "gpu needs a GPU of architecture sm_00" in random.doit("verify", "models/z:gpu", code=3).stderr


def test_a_document_for_scripts(random: Workspace) -> None:
    done = random.doit("verify", "...", "--json", code=1)
    document = json.loads(done.stdout)
    assert {name: document[name] for name in ("bit", "numerical", "none", "failed", "skipped")} == {
        "bit": 0, "numerical": 1, "none": 1, "failed": 0, "skipped": 1,
    }  # fmt: skip
    found = {each["label"]: each for each in document["targets"]}
    assert found[CHANCE]["class"] == "none"
    (output,) = found[CHANCE]["differences"]
    assert output == "out"
    assert found[CHANCE]["differences"]["out"]["findings"][0]["where"].startswith("byte ")
    assert found["models/z:gpu"]["status"] == "skipped" and "sm_00" in found["models/z:gpu"]["reason"]


def test_the_class_is_kept_and_the_worst_counts(random: Workspace) -> None:
    random.doit("verify", CLOSE)
    (file,) = (random.store / "reproducibility").iterdir()
    record = json.loads(file.read_text())
    assert (record["label"], record["reproducible"], record["runs"]) == (CLOSE, "numerical", 1)
    random.doit("verify", CLOSE)
    assert json.loads(file.read_text())["runs"] == 2
    file.write_text(json.dumps({**record, "reproducible": "none"}))
    random.doit("verify", CLOSE)
    assert json.loads(file.read_text())["reproducible"] == "none"
    # A record that says something else is none.
    for wrong in ({"reproducible": "perfect"}, {"runs": "2"}, {"key": "another"}):
        file.write_text(json.dumps({**record, **wrong}))
        assert "[" not in random.doit("list", "--all", CLOSE).stdout
        random.doit("verify", CLOSE)
        assert json.loads(file.read_text())["reproducible"] == "numerical" and json.loads(file.read_text())["runs"] == 1


def test_the_class_is_shown_by_list_and_report(workspace: Workspace) -> None:
    workspace.doit("verify", "models/y")
    assert f"{D}   python_action: build/models/y/d/out.txt [bit]\n" in workspace.doit("list", "--all").stdout
    (action,) = [each for each in json.loads(workspace.doit("report", "--json").stdout)["actions"] if each["label"] == D]
    assert action["reproducible"] == "bit"
    # Of another result nothing is known.
    workspace.write({"models/y/src.txt": "three\n"})
    workspace.build()
    assert "[bit]" not in workspace.doit("list", "--all").stdout
    workspace.doit("cache", "gc", "--older-than", "0s")
    assert [*(workspace.store / "reproducibility").iterdir()] == []


def test_an_action_that_fails_the_second_time(empty: Workspace, tmp_path: Path) -> None:
    once = f"""
    import subprocess

    def once(inputs, outputs, params):
        # A named pipe is beyond the sandbox's read-only mounts: it holds one line, for the first who reads.
        if not subprocess.run(["timeout", "2", "head", "-n", "1", {str(tmp_path / "pipe")!r}], capture_output=True).stdout:
            raise ValueError("there is nothing left")
        outputs["out"].write_text("made")
    """
    declared = 'from enginewright import python_action\npython_action(name="o", function="make.py:once", outputs={"out": "o.txt"})\n'
    empty.write({"models/o/BUILD.py": declared, "models/o/make.py": once})
    pipe = Pipe(tmp_path / "pipe")
    keep = os.open(pipe.path, os.O_WRONLY)
    os.write(keep, b"word\n")
    done = empty.doit("verify", code=1).stdout
    os.close(keep)
    assert "FAILED     models/o:o: " in done and "there is nothing left" in done
    assert "log: build/.enginewright/logs/models/o/o.verify.log" in done
    assert empty.build().up_to_date == {"models/o:o"}


def test_what_fails_the_first_time_is_not_verified(workspace: Workspace) -> None:
    workspace.write({"models/y/BUILD.py": workspace.read("models/y/BUILD.py").replace(":copy", ":fail")})
    done = workspace.doit("verify", D, code=1)
    assert "FAILED" in done.stderr and done.stdout == ""


def test_a_store_in_which_nothing_can_be_written(workspace: Workspace) -> None:
    workspace.build()
    (workspace.store / "tmp").rmdir()
    (workspace.store / "tmp").symlink_to("/proc")  # where root cannot write either
    said = workspace.doit("verify", D, code=3).stderr.splitlines()[-1]
    assert said.startswith(f"ERROR: No such file or directory: {workspace.store}/tmp/enginewright-")


def test_an_interrupt_cleans_up(workspace: Workspace, tmp_path: Path) -> None:
    here, go = Pipe(tmp_path / "here"), tmp_path / "go"
    declared = workspace.read("models/y/BUILD.py").replace(":copy", ":wait")
    params = f'params={{"here": "{here.path}", "until": "{go}"}}, outputs'
    workspace.write({"models/y/BUILD.py": declared.replace("outputs", params, 1)})
    go.touch()
    workspace.doit("build", D)
    here.lines()
    go.unlink()
    process = workspace.start("verify", D)
    here.wait()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said.splitlines()[-1] == "interrupted"
    assert workspace.leftovers() == []
    go.touch()
    assert " bit 1" not in workspace.doit("verify", D).stdout.splitlines()[0]
