from __future__ import annotations

import csv
import errno
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from enginewright.errors import ActionError
from enginewright.oci.members import gather
from enginewright.oci.tar import packed
from enginewright.wheel.environment import make_environment
from enginewright.wheel.target import Target
from wheels import make_wheel

TARGET = Target(f"3.{sys.version_info.minor}", "manylinux_2_28_x86_64")
SITE = f"opt/venv/lib/python{TARGET.python}/site-packages"


def make(place: Path, *wheels: Path, prefix: str = "/opt/venv", interpreter: str = "/usr/bin/python3") -> dict[str, str]:
    place.mkdir()
    return make_environment(wheels, place, prefix, interpreter, TARGET)


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    return make_wheel(
        tmp_path, "tool",
        files={
            "tool/__init__.py": b"def main():\n    print('hello from', __file__)\n",
            "tool-1.0.data/scripts/tool-sh": b"#!python\nimport tool; tool.main()\n",
            "tool-1.0.data/data/share/tool/data.txt": b"data",
            "tool-1.0.data/headers/tool.h": b"// tool",
            "tool-1.0.data/purelib/pure.py": b"x = 1\n",
        },
        entry_points="[console_scripts]\ntool = tool:main\n",
    )  # fmt: skip


def test_every_part_of_a_wheel_is_where_it_belongs(tmp_path: Path, tool: Path) -> None:
    links = make(tmp_path / "root", tool)
    root = tmp_path / "root"
    assert (root / SITE / "tool/__init__.py").exists() and (root / SITE / "pure.py").read_text() == "x = 1\n"
    assert (root / "opt/venv/share/tool/data.txt").read_text() == "data"
    assert (root / f"opt/venv/include/site/python{TARGET.python}/tool/tool.h").exists()
    for script in ("tool", "tool-sh"):
        path = root / "opt/venv/bin" / script
        assert path.read_text().startswith("#!/opt/venv/bin/python\n") and os.access(path, os.X_OK)
    assert links["/opt/venv/bin/python"] == "/usr/bin/python3"
    assert not list(root.rglob("__pycache__"))
    # RECORD names each file that is there, and with its digest.
    with (root / SITE / "tool-1.0.dist-info/RECORD").open() as record:
        named = {os.path.normpath(root / SITE / row[0]) for row in csv.reader(record)}
    there = {str(path) for path in root.rglob("*") if path.is_file() and path.name != "pyvenv.cfg"}
    assert named == there


def test_it_is_an_environment_that_runs(tmp_path: Path, tool: Path) -> None:
    """Placed where it is to be, its scripts run without being told where they are."""
    prefix = f"{tmp_path}/placed/venv"
    links = make_environment([tool], tmp_path / "root", prefix, sys.executable, TARGET)
    shutil.copytree(tmp_path / "root" / prefix.lstrip("/"), prefix)
    for path, target in links.items():
        os.symlink(target, path)
    for script in ("tool", "tool-sh"):
        said = subprocess.run([f"{prefix}/bin/{script}"], capture_output=True, text=True, env={}, check=True).stdout
        assert said == f"hello from {prefix}/lib/python{TARGET.python}/site-packages/tool/__init__.py\n"


def test_the_same_bytes_from_another_place_order_and_umask(tmp_path: Path, tool: Path) -> None:
    other = make_wheel(tmp_path, "other", requires=["tool==1.0"])
    archives = []
    for number, wheels in enumerate([(tool, other), (other, tool)]):
        place = tmp_path / f"another folder {number}"
        before = os.umask(0o077 if number else 0o022)
        try:
            links = make(place, *wheels)
        finally:
            os.umask(before)
        archives.append(packed(gather({"/": place}, links)))
    assert archives[0] == archives[1]


def test_what_is_required_must_be_there(tmp_path: Path) -> None:
    a = make_wheel(tmp_path, "a", requires=["b>=2", "c", "d; sys_platform == 'win32'", "e; extra == 'all'"])
    b = make_wheel(tmp_path, "b", "1.0")
    with pytest.raises(ActionError) as caught:
        make(tmp_path / "root", a, b)
    assert str(caught.value) == (
        "the requirements are not complete:\n"
        "  a 1.0 requires b>=2, and 1.0 is pinned\n"
        "  a 1.0 requires c, which the requirements do not pin"
    )


def test_two_wheels_with_one_file(tmp_path: Path) -> None:
    a, b = (make_wheel(tmp_path, name, files={"shared.py": name.encode()}) for name in "ab")
    with pytest.raises(ActionError, match=rf"^b-1\.0-py3-none-any\.whl: another wheel has a file /{SITE}/shared\.py too"):
        make(tmp_path / "root", a, b)


def test_a_wheel_that_leads_out(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "a", files={"a.py": b"", "../../../../../../evil.py": b""})
    with pytest.raises(ActionError, match=r"^a-1\.0-py3-none-any\.whl is a damaged wheel"):
        make(tmp_path / "root", wheel)
    assert not list(tmp_path.rglob("evil.py"))


def test_a_full_disk_is_not_the_wheels_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("installer.install", full)
    with pytest.raises(OSError, match="No space left"):
        make(tmp_path / "root", make_wheel(tmp_path, "a"))


@pytest.mark.parametrize("damage", ["truncated", "text", "unrecorded"])
def test_a_damaged_wheel(tmp_path: Path, damage: str) -> None:
    wheel = make_wheel(tmp_path, "a")
    if damage == "truncated":
        wheel.write_bytes(wheel.read_bytes()[:300])
    elif damage == "text":
        wheel.write_text("<html>404</html>")
    else:
        with zipfile.ZipFile(wheel, "a") as archive:
            archive.writestr("a/more.py", b"")
    with pytest.raises(ActionError, match=r"^a-1\.0-py3-none-any\.whl is a damaged wheel, or none: "):
        make(tmp_path / "root", wheel)
