"""What other build systems miss, by counting the actions that run: a test for each column of the README's table, and then some.

Each is a `doit build` of its own in a workspace to throw away. `Workspace.build` checks what the build tells against the trace that
the actions leave, so that what is counted is what ran.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import enginewright
import throwaway
from throwaway import Workspace

BUILD = """
from enginewright import python_action

python_action(name="start", function="make.py:copy", inputs={"src": "src.txt"}, outputs={"out": "out.txt"})
python_action(name="middle", function="make.py:copy", inputs={"src": ":start"}, outputs={"out": "out.txt"})
python_action(name="end", function="make.py:copy", inputs={"b": ":middle", "more": "more.txt"}, outputs={"out": "out.txt"})
python_action(name="other", function="other.py:copy", inputs={"src": "more.txt"}, outputs={"out": "out.txt"}, srcs=["helper.py"])
"""
IMAGE = """
from enginewright import files_layer, image

files_layer(name="layer", files={"/é/end": "models/x:end", "/other": "models/x:other"})
image(name="image", layers=[":layer"])
"""
START, MIDDLE, END, OTHER = (f"models/x:{name}" for name in ("start", "middle", "end", "other"))
LAYER, IMAGED = "images/x:layer", "images/x:image"
ALL = {START, MIDDLE, END, OTHER, LAYER, IMAGED}
OUT = {label: f"build/{label.replace(':', '/')}/out.txt" for label in (START, MIDDLE, END, OTHER)}


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    """A chain of three actions, one beside it, and an image of both."""
    empty.write({"models/x/BUILD.py": BUILD, "models/x/src.txt": "one\n", "models/x/more.txt": "more\n", "images/x/BUILD.py": IMAGE})
    empty.write({"models/x/make.py": empty.make, "models/x/helper.py": "", "models/x/other.py": "import helper\n\n" + empty.make})
    return empty


@pytest.fixture
def built(workspace: Workspace) -> Workspace:
    assert workspace.build().built == ALL
    return workspace


def corrupt(output: Path, keep_mtime: bool = False) -> None:
    """Write other bytes, as many as there were, into an output."""
    status = output.stat()
    output.chmod(0o644)
    output.write_bytes(b"X" * status.st_size)
    output.chmod(stat.S_IMODE(status.st_mode))
    if keep_mtime:
        os.utime(output, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (output.stat().st_size, output.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def edit(workspace: Workspace, path: str, before: str, after: str) -> None:
    text = workspace.read(path)
    assert before in text
    (workspace.root / path).write_text(text.replace(before, after))


def heals(workspace: Workspace, restored: set[str], before: dict[str, bytes]) -> None:
    """The next build runs nothing, restores just these, and leaves every output as it was; the one after it has nothing to do."""
    report = workspace.build()
    assert (report.cached, report.up_to_date) == (restored, ALL - restored)
    assert workspace.files() == before
    assert workspace.build().up_to_date == ALL


def test_mtime_only_touch(built: Workspace) -> None:
    before = built.files()
    for times in (None, (0, 0)):  # now, and long ago
        for path in built.root.rglob("*"):
            if path.is_file() and ".enginewright" not in path.parts:
                os.utime(path, times)
        heals(built, set(), before)


def test_corrupt_intermediate(built: Workspace) -> None:
    before = built.files()
    corrupt(built.root / OUT[MIDDLE])
    heals(built, {MIDDLE}, before)

    # What reads it has to run at the same time: it must not see the damage.
    corrupt(built.root / OUT[MIDDLE])
    built.write({"models/x/more.txt": "less\n"})
    report = built.build()
    assert (report.built, report.cached, report.up_to_date) == ({END, OTHER, LAYER, IMAGED}, {MIDDLE}, {START})
    assert built.read(OUT[END]) == "one\nless\n"


def test_corrupt_final_output(built: Workspace) -> None:
    before = built.files()
    corrupt(built.root / OUT[END])
    heals(built, {END}, before)
    for path in sorted((built.root / "build/images/x/image").rglob("*")):
        if path.is_file():
            corrupt(path)
            heals(built, {IMAGED}, before)


@pytest.mark.parametrize("label", [START, MIDDLE, END])
def test_corrupt_mtime_restored(built: Workspace, label: str) -> None:
    before = built.files()
    corrupt(built.root / OUT[label], keep_mtime=True)
    heals(built, {label}, before)


@pytest.mark.parametrize(
    ("path", "restored"),
    [
        (OUT[START], {START}),
        (OUT[END], {END}),
        ("build/images/x/image/index.json", {IMAGED}),
        ("build/models/x", {START, MIDDLE, END, OTHER}),
        ("build", ALL),
        ("build/.enginewright", ALL),  # its memory, so that all has to be looked up again; the outputs are where they were
    ],
)
def test_deleted_outputs(built: Workspace, path: str, restored: set[str]) -> None:
    before = built.files()
    target = built.root / path
    target.unlink() if target.is_file() else shutil.rmtree(target)
    heals(built, restored, before)


def test_edited_build_file(built: Workspace) -> None:
    before = built.files()
    edit(built, "models/x/BUILD.py", "\npython_action", "\n\n# A comment, which moves every line.\npython_action")
    heals(built, set(), before)

    # A parameter that changes nothing stops at its own action, one that does goes as far as bytes change.
    edit(built, "models/x/BUILD.py", 'name="middle"', 'name="middle", params={"times": 1}')
    report = built.build()
    assert (report.built, report.up_to_date) == ({MIDDLE}, ALL - {MIDDLE})
    assert built.files() == before
    edit(built, "models/x/BUILD.py", '{"times": 1}', '{"times": 2}')
    report = built.build()
    assert (report.built, report.up_to_date) == ({MIDDLE, END, LAYER, IMAGED}, {START, OTHER})
    assert built.read(OUT[END]) == "one\none\nmore\n"


def test_edited_rule_code(built: Workspace, tmp_path: Path) -> None:
    before = built.files()
    built.write({"models/x/make.py": built.make + "\n# A comment\n"})
    report = built.build()
    assert (report.built, report.up_to_date) == ({START, MIDDLE, END}, {OTHER, LAYER, IMAGED})
    built.write({"models/x/helper.py": "# A comment\n"})
    report = built.build()
    assert (report.built, report.up_to_date) == ({OTHER}, ALL - {OTHER})

    # A rule's own module, in a copy of Enginewright.
    package = tmp_path / "source/enginewright"
    shutil.copytree(Path(enginewright.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    built.environment["PYTHONPATH"] = str(package.parent)
    for module, stale in (("rules/layer.py", {LAYER}), ("rules/python_action.py", {START, MIDDLE, END, OTHER}), ("rules/onnx.py", set())):
        (package / module).write_text((package / module).read_text() + "\n# A comment\n")
        report = built.build()
        assert (report.built, report.up_to_date) == (stale, ALL - stale)
    assert built.files() == before


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where distributions can be installed for the workspace: that of a virtual environment over the one that these tests run in."""
    root = tmp_path / "venv"
    venv.create(root, symlinks=True)
    folder = Path(sysconfig.get_path("purelib", "venv", {"base": str(root)}))
    (folder / "over.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    script = root / "bin/doit"
    script.write_text(f"#!{root}/bin/python\n" + throwaway.DOIT.read_text().partition("\n")[2])
    script.chmod(0o755)
    monkeypatch.setattr(throwaway, "DOIT", script)
    return folder


def install_tool(folder: Path, version: str) -> None:
    """As pip does: what is there of another version goes first."""
    for old in folder.glob("tiny_tool*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    info = folder / f"tiny_tool-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tiny-tool\nVersion: {version}\n")
    (info / "RECORD").write_text("tiny_tool.py,,\n")
    (folder / "tiny_tool.py").write_text(f"VERSION = {version!r}\n")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["site-packages", "folder named by a .pth file"])
def test_upgraded_toolchain(workspace: Workspace, site_packages: Path, tmp_path: Path, elsewhere: bool) -> None:
    tooled = f"{workspace.make}\n\ndef tooled(inputs, outputs, params):\n    import tiny_tool\n    trace(outputs)\n"
    workspace.write({"models/y/make.py": tooled + "    outputs['out'].write_text(tiny_tool.VERSION)\n"})
    declared = 'python_action(name="tooled", function="make.py:tooled", outputs={"out": "out.txt"}, packages=["tiny-tool"])\n'
    workspace.write({"models/y/BUILD.py": f"from enginewright import python_action\n{declared}"})
    folder = site_packages
    if elsewhere:
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        (site_packages / "elsewhere.pth").write_text(f"{folder}\n")
    install_tool(folder, "1.0")
    assert workspace.build().built == {*ALL, "models/y:tooled"}
    assert workspace.build().up_to_date == {*ALL, "models/y:tooled"}
    install_tool(folder, "1.1")
    report = workspace.build()
    assert (report.built, report.up_to_date) == ({"models/y:tooled"}, ALL)
    assert workspace.read("build/models/y/tooled/out.txt") == "1.1"
    install_tool(folder, "1.0")
    report = workspace.build()
    assert (report.cached, report.up_to_date) == ({"models/y:tooled"}, ALL)
    assert workspace.read("build/models/y/tooled/out.txt") == "1.0"


def test_renamed_target(built: Workspace) -> None:
    """An action sees the path of its output, which may end up in the output: under another name it is another action."""
    before = built.files()
    edit(built, "models/x/BUILD.py", '"start"', '"first"')
    edit(built, "models/x/BUILD.py", '":start"', '":first"')
    report = built.build()
    # What reads it finds it at another path, and runs too; the bytes are the same, so nothing beyond does.
    assert (report.built, report.up_to_date) == ({"models/x:first", MIDDLE}, {END, OTHER, LAYER, IMAGED})
    assert built.read("build/models/x/first/out.txt") == "one\n"
    assert {path: built.files()[path] for path in before} == before

    edit(built, "models/x/BUILD.py", '"first"', '"start"')
    edit(built, "models/x/BUILD.py", '":first"', '":start"')
    report = built.build()
    assert (report.cached, report.up_to_date) == ({START, MIDDLE}, {END, OTHER, LAYER, IMAGED})


def test_moved_workspace(built: Workspace, tmp_path: Path) -> None:
    before = built.files()
    moved = tmp_path / "elsewhere/moved"
    moved.parent.mkdir()
    built.root.rename(moved)
    workspace = Workspace(moved, built.store, built.trace.path)
    heals(workspace, set(), before)

    # A copy has other inodes and times; a clone, no outputs either.
    copied = Workspace(tmp_path / "copied", built.store, built.trace.path)
    shutil.copytree(moved, copied.root)
    heals(copied, set(), before)
    heals(workspace.clone(tmp_path / "clone"), ALL, before)


ENVIRONMENT = """

import locale
import os
import time


def tell(inputs, outputs, params):
    \"\"\"All that an action could know of who runs it and where, but for its own temporary folders.\"\"\"
    trace(outputs)
    umask = os.umask(0)
    seen = {name: value for name, value in os.environ.items() if name not in ("HOME", "TMPDIR")}
    told = [seen, umask, time.tzname, time.localtime(0)[:5], locale.setlocale(locale.LC_ALL, ""), hash("hash"), set("a set")]
    outputs["out"].write_text("\\n".join(map(repr, told)))
    outputs["out"].chmod(0o640)
"""


def test_another_environment(workspace: Workspace, tmp_path: Path) -> None:
    """Another umask, time zone, locale, hash seed and user: neither keys nor bytes nor modes depend on them."""
    declared = 'python_action(name="tell", function="tell.py:tell", outputs={"out": "out.txt"})\n'
    workspace.write(
        {"models/y/tell.py": workspace.make + ENVIRONMENT, "models/y/BUILD.py": f"from enginewright import python_action\n{declared}"}
    )
    everything = {*ALL, "models/y:tell"}
    assert workspace.build().built == everything
    changes = {
        "TZ": "Pacific/Chatham", "LC_ALL": "POSIX", "LANG": "de_DE.ISO-8859-1", "PYTHONHASHSEED": "1", "USER": "somebody",
        "LOGNAME": "somebody", "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    fresh = workspace.clone(tmp_path / "fresh", tmp_path / "another store")
    for name, value in changes.items():
        workspace.environment[name] = fresh.environment[name] = value
        assert workspace.build().up_to_date == everything, name
    before = os.umask(0o077)
    try:
        assert workspace.build().up_to_date == everything
        assert fresh.build().built == everything
        assert fresh.files() == workspace.files()
        assert modes(fresh) == modes(workspace)
        shutil.rmtree(workspace.root / "build")
        assert workspace.build().cached == everything
        assert (workspace.files(), modes(workspace)) == (fresh.files(), modes(fresh))
    finally:
        os.umask(before)
    assert sys.prefix not in workspace.read("build/models/y/tell/out.txt")


def modes(workspace: Workspace) -> dict[str, int]:
    build = workspace.root / "build"
    return {path: stat.S_IMODE((build / path).stat().st_mode) for path in workspace.files()}
