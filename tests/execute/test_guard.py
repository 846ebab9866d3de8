from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enginewright.execute.guard import Violation
from enginewright.execute.isolation import NAMESPACE
from enginewright.store.digest import Stat
from sandboxed import Sandbox

READING = [
    "by_open", "by_path", "by_descriptor", "by_listing", "by_scanning", "by_walking", "by_copying", "by_symlink", "by_hardlink",
    "by_import", "by_change_of_folder",
]  # fmt: skip
CHANGING = ["change_text", "change_end", "change_in_place", "change_descriptor", "change_size", "change_mode", "change_times"]
REPLACING = ["change_by_rename", "take_away", "remove", "remove_folder", "remove_below_descriptor"]
ADDING = {"make_folder": ".d", "make_link": ".link", "make_hardlink": ".hardlink"}


def attempts(sandbox: Sandbox) -> dict[str, str]:
    """What the action attempt() printed of each way: what it returned, or how it failed."""
    return dict(json.loads(line) for line in sandbox.log.read_text().splitlines())


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    """Where something on this machine waits for connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_an_undeclared_file_of_the_package_is_named_with_what_to_add(sandbox: Sandbox) -> None:
    file = sandbox.write("models/x/data/labels.txt")
    problem = "reads models/x/data/labels.txt, which is not among its declared inputs: add 'data/labels.txt' to srcs"
    assert sandbox.problem("read", path="models/x/data/labels.txt") == problem
    assert sandbox.problem("read", path="models/x/../x/data/labels.txt") == problem
    assert sandbox.problem("read", path=str(file)) == problem


def test_what_to_add_depends_on_where_the_file_is(sandbox: Sandbox) -> None:
    for path, advice in [
        ("models/y/net.py", "move or link it into the package, and add it to srcs"),
        ("models/xy/net.py", "move or link it into the package, and add it to srcs"),
        ("pyproject.toml", "move or link it into the package, and add it to srcs"),
        ("build/models/x/onnx.onnx", "name the target that makes it in an attribute"),
    ]:
        sandbox.write(path)
        assert sandbox.problem("read", path=path) == f"reads {path}, which is not among its declared inputs: {advice}"


def test_a_violation_counts_even_if_the_code_catches_it(sandbox: Sandbox) -> None:
    sandbox.write("models/x/labels.txt")
    problem = "reads models/x/labels.txt, which is not among its declared inputs: add 'labels.txt' to srcs"
    assert sandbox.problem("read_and_swallow", path="models/x/labels.txt") == problem
    assert sandbox.log.read_text() == f"never mind: {problem}\n"


def test_a_violation_keeps_its_message_when_the_library_adds_a_file_to_it() -> None:
    """As shutil.rmtree does from Python 3.13 on."""
    error = Violation("reads a.txt")
    error.filename = "/x"
    assert str(error) == "reads a.txt"


def test_no_way_of_reading_an_undeclared_file_is_missed(sandbox: Sandbox) -> None:
    paths = {way: str(sandbox.write(f"models/y/{way}/secret_{way}.py", "secret = 1")) for way in READING}
    sandbox.problem("attempt", attempts=paths)
    told = attempts(sandbox)
    assert (told.pop("by_import"), told.pop("by_walking")) == ("No module named 'secret_by_import'", "[]")  # Python swallows it
    for way in told:
        folder = way in ("by_listing", "by_scanning", "by_change_of_folder")
        assert told[way].startswith(f"reads models/y/{way}{'' if folder else f'/secret_{way}.py'}, ")
    if sandbox.executor.isolation.name == NAMESPACE:
        return  # Python asks whether the folder is there before it reads it, and is told that it is not
    for way in ("by_import", "by_walking"):
        assert sandbox.problem("attempt", attempts={way: paths[way]}).startswith(f"reads models/y/{way}, ")


def test_nor_by_a_path_below_the_sandbox(sandbox: Sandbox) -> None:
    ways = ["by_open", "by_path", "by_descriptor", "by_copying", "by_listing"]
    paths = {way: sandbox.write(f"models/y/{way}/secret.py").relative_to(sandbox.root).as_posix() for way in ways}
    sandbox.problem("attempt", attempts=paths)
    assert all(attempts(sandbox)[way].startswith(f"reads models/y/{way}") for way in ways)


def test_a_link_to_an_undeclared_file_does_not_help(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(sandbox.write("models/y/secret.py"))
    assert sandbox.problem("read", path=str(tmp_path / "link")).startswith("reads models/y/secret.py, ")


def test_a_declared_file_can_be_read_in_every_way(sandbox: Sandbox) -> None:
    sandbox.write("models/x/data/labels.py", "labels = 1")
    sandbox.write("models/x/data/other.py", "other = 1")
    sandbox.run("attempt", inputs={"in": "data/labels.py"}, attempts={way: "models/x/data/labels.py" for way in READING})
    seen = attempts(sandbox)
    assert sorted(seen) == sorted(READING)
    assert all(way == "by_copying" or "labels" in told for way, told in seen.items())
    assert not any("other" in told for told in seen.values())


def test_a_declared_file_can_be_read_where_it_really_is(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.txt").write_text("text")
    (sandbox.root / "models/x/link.txt").symlink_to(sandbox.write("models/y/shared.txt"))
    (sandbox.root / "models/x/out.txt").symlink_to(tmp_path / "elsewhere.txt")
    for name in ("link.txt", "out.txt"):
        path = str(sandbox.root / "models/x" / name)
        assert sandbox.text(sandbox.run("read", inputs={"in": name}, path=path)) == "text"


def test_a_declared_folder_can_be_read(sandbox: Sandbox) -> None:
    sandbox.write("build/models/x/tree/sub/file")
    sandbox.write("build/models/x/trees")
    options: dict[str, Any] = {"trees": {"tree": "build/models/x/tree"}}
    assert sandbox.text(sandbox.run("read", path="build/models/x/tree/sub/file", **options)) == "text"
    assert sandbox.problem("read", path="build/models/x/trees", **options).startswith("reads build/models/x/trees, ")


def test_a_source_of_a_distribution_can_be_read(sandbox: Sandbox) -> None:
    result = sandbox.run("copy", inputs={"in": "dist://hypothesis/hypothesis/py.typed"})
    assert result.outputs["out"].size == 0


def test_a_file_that_nobody_has_is_not_there(sandbox: Sandbox) -> None:
    problem = sandbox.problem("read", path="models/x/nothing.txt")
    assert "FileNotFoundError" in problem and "not among its declared inputs" not in problem
    paths = ["models/x/nothing.txt", "models/x/undeclared.txt"]
    sandbox.write("models/x/undeclared.txt")
    assert sandbox.text(sandbox.run("read_optional", paths=paths)) == "[False, False]"


def test_temporary_files_may_be_written_and_removed_whatever_their_names(sandbox: Sandbox) -> None:
    for file in ("build/file", "models/x/deep/file", "docs/pictures/file"):
        sandbox.write(file)
    assert sandbox.text(sandbox.run("use_temporary_files")) == "done"


@pytest.mark.parametrize("store", ["store", ".store"])
def test_a_store_inside_the_workspace_is_none_of_its_sources(tmp_path: Path, sandbox: Sandbox, store: str) -> None:
    inside = Sandbox(sandbox.root, type(sandbox.store)(sandbox.root / store), sandbox.declare)
    blob = inside.store.path(inside.run("copy").outputs["out"].digest)
    assert inside.text(inside.run("use_temporary_files")) == "done"
    assert inside.problem("read", path=str(blob)).startswith(f"reads {store}/blobs/")


@pytest.mark.parametrize("where", ["models/x", "models/y", ".."])
def test_nothing_outside_the_sandbox_is_changed(sandbox: Sandbox, where: str) -> None:
    files = {way: sandbox.write(f"{where}/{way}/file").resolve() for way in [*CHANGING, *REPLACING, *ADDING]}
    before = {way: file.stat() for way, file in files.items()}
    sandbox.problem("attempt", attempts={way: str(file) for way, file in files.items()})
    told = attempts(sandbox)
    for way, file in files.items():
        shown = str(file) if where == ".." else f"{where}/{way}/file"
        # An undeclared folder, or the source of a hard link, is not even read, or it is hidden.
        if told[way].startswith(("reads ", "[Errno 2] No such file")):
            assert where != ".." and way in ("remove_folder", "remove_below_descriptor", "make_hardlink")
        else:
            assert told[way] == f"writes to {shown}{ADDING.get(way, '')}: an action may write its outputs and temporary files only"
        assert Stat.of(file.stat())[:2] == Stat.of(before[way])[:2] and file.stat().st_mode == before[way].st_mode
        assert list(file.parent.iterdir()) == [file]


def test_an_input_is_not_changed_through_its_name_in_the_sandbox(sandbox: Sandbox) -> None:
    files = {way: sandbox.write(f"models/x/{way}/file") for way in [*CHANGING, *REPLACING]}
    before = {way: Stat.of(file.stat()) for way, file in files.items()}
    paths = {way: f"models/x/{way}/file" for way in files}
    assert sandbox.problem("attempt", inputs={way: f"{way}/file" for way in files}, attempts=paths).startswith("writes to models/x/")
    told = attempts(sandbox)
    assert all(told[way].startswith(f"writes to models/x/{way}/file: ") for way in CHANGING)
    assert [told[way] for way in REPLACING] == ["None"] * len(REPLACING)  # the sandbox holds but a link, which may go
    assert {way: Stat.of(file.stat()) for way, file in files.items()} == before


def test_nor_is_an_input_folder(sandbox: Sandbox) -> None:
    files = {way: sandbox.write(f"build/models/y/tree/{way}/file") for way in [*CHANGING, *REPLACING, *ADDING]}
    sandbox.problem("attempt", trees={"tree": "build/models/y/tree"}, attempts={way: f"build/models/y/tree/{way}/file" for way in files})
    told = attempts(sandbox)
    assert all(told[way].startswith(f"writes to build/models/y/tree/{way}/file{ADDING.get(way, '')}: ") for way in files)
    assert all(file.read_text() == "text" and list(file.parent.iterdir()) == [file] for file in files.values())


def test_a_connection_is_refused_with_host_and_port(sandbox: Sandbox, listener: tuple[str, int]) -> None:
    where = f"{listener[0]}:{listener[1]}: actions have no network; fetch the file and declare it as a source"
    assert sandbox.problem("connect", address=listener) == f"looks up {where}"
    assert sandbox.problem("connect_and_swallow", address=listener) == f"looks up {where}"
    for function in ("connect_by_number", "send", "send_message"):
        assert sandbox.problem(function, address=listener) == f"connects to {where}"


def test_a_name_is_not_even_looked_up(sandbox: Sandbox) -> None:
    advice = "actions have no network; fetch the file and declare it as a source"
    assert sandbox.problem("connect", address=("models.example", 443)) == f"looks up models.example:443: {advice}"
    assert sandbox.problem("look_up", address=("models.example", 443)) == f"looks up models.example: {advice}"


def test_an_action_that_requires_the_network_has_it(sandbox: Sandbox, listener: tuple[str, int]) -> None:
    assert sandbox.text(sandbox.run("connect", address=listener, requires={"network": ""})) == "connected"


def test_variables_that_an_action_names_are_the_callers_and_in_no_record(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("HOME", "/home/somebody")
    result = sandbox.run("surroundings", environment=("SECRET_TOKEN", "HOME", "NOT_SET"))
    found = json.loads(sandbox.text(result))["environment"]
    assert (found["SECRET_TOKEN"], found["HOME"]) == ("hunter2", "/home/somebody") and "NOT_SET" not in found
    assert "hunter2" not in repr(result) and "SECRET_TOKEN" not in repr(result.material)
    # The next action is forked from the same server.
    assert "SECRET_TOKEN" not in json.loads(sandbox.text(sandbox.run("surroundings")))["environment"]


def test_the_environment_is_the_same_for_everybody(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "secret")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("HOME", "/home/somebody")
    sandbox.write("models/x/other.txt")
    found = json.loads(sandbox.text(sandbox.run("surroundings")))
    root = Path(found["folder"])
    assert not root.is_relative_to(sandbox.root) and not list(root.iterdir())
    environment = found["environment"]
    assert sorted(environment) == [
        "HOME", "LC_ALL", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONPATH", "PYTHONUNBUFFERED", "TMPDIR", "TZ",
    ]  # fmt: skip
    assert (environment["PYTHONHASHSEED"], environment["TZ"], environment["LC_ALL"]) == ("0", "UTC", "C.UTF-8")
    assert Path(environment["HOME"]).name == "home" and found["temporary"] == environment["TMPDIR"]
    assert Path(environment["TMPDIR"]).is_relative_to(sandbox.store.root)
    assert found["umask"] == 0o022
    assert found["stdin"] == ""
    assert [path for path in found["files"] if "." in path] == ["models/x/misdeeds.py"]
    assert len(found["descriptors"]) == 6  # the standard three, the reply to the parent, the workspace, and the listing itself


def test_a_module_outside_the_toolchain_cannot_be_imported(sandbox: Sandbox) -> None:
    problem = sandbox.problem("import_module", module="numpy")
    assert "ModuleNotFoundError: No module named 'numpy'" in problem
    assert problem.endswith("numpy is installed, but it is not in this action's toolchain: add its distribution to packages")
    assert sandbox.text(sandbox.run("import_if_there")) == "True"


def test_a_module_that_is_not_installed_has_no_such_hint(sandbox: Sandbox) -> None:
    problem = sandbox.problem("import_module", module="no_such_module")
    assert "No module named 'no_such_module'" in problem and "toolchain" not in problem


def test_the_toolchain_and_the_standard_library_can_be_imported(sandbox: Sandbox) -> None:
    assert sandbox.text(sandbox.run("import_module", module="packaging", packages=("packaging",))) == "packaging"
    assert sandbox.text(sandbox.run("import_module", module="sortedcontainers", packages=("hypothesis",))) == "sortedcontainers"
    assert sandbox.text(sandbox.run("import_module", module="sqlite3")) == "sqlite3"


def test_a_missing_part_of_the_toolchain_has_no_such_hint_either(sandbox: Sandbox) -> None:
    problem = sandbox.problem("import_module", module="packaging.no_such_part", packages=("packaging",))
    assert "No module named 'packaging.no_such_part'" in problem and "toolchain" not in problem


def test_a_module_beside_the_action_can_be_imported_when_it_is_declared(sandbox: Sandbox) -> None:
    sandbox.write("models/x/beside.py", "x = 1")
    problem = sandbox.problem("import_module", module="beside")
    assert "models/x/beside.py" in problem and "declared inputs" in problem and problem.endswith("to srcs")
    assert sandbox.text(sandbox.run("import_module", module="beside", inputs={"in": "beside.py"})) == "beside"


@pytest.mark.parametrize("path", ["stray.txt", "models/x/stray.txt", "build/models/x/t/stray.txt", "new/folder/stray.txt"])
def test_a_stray_file_is_refused(sandbox: Sandbox, path: str) -> None:
    assert sandbox.problem("write_stray", path=path) == (
        f"wrote {path}, which is not among its declared outputs: write temporary files below tempfile.gettempdir()"
    )


def test_what_lies_below_the_folder_of_python_is_not_free_to_read(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(sandbox.root.parent))  # as for a workspace in /usr/src, with the system's Python
    path = str(sandbox.write("models/x/labels.txt"))
    assert sandbox.problem("read", path=path).startswith("reads models/x/labels.txt, ")
