"""python_layer(): what may be declared, and the layer it makes, in a workspace of its own with the real pip and no index."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enginewright import python_layer
from enginewright.errors import DeclarationError
from throwaway import Workspace
from wheels import make_wheel

BUILD = """
from enginewright import image, python_layer

python_layer(name="packages", requirements="requirements.txt", python="3.11")
image(name="image", layers=[":packages"])
"""


@pytest.fixture
def workspace(empty: Workspace, tmp_path: Path) -> Workspace:
    """Wheels lie in tmp_path/index, which pip is told of as a machine tells it."""
    (tmp_path / "index").mkdir()
    empty.write({"images/x/BUILD.py": BUILD})
    empty.environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index"), "PIP_CONFIG_FILE": "/dev/null"}
    return empty


def pin(workspace: Workspace, *wheels: Path) -> None:
    lines = [f"{wheel.name.split('-')[0]}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n" for wheel in wheels]
    workspace.write({"images/x/requirements.txt": "".join(lines)})


def test_wheels_are_fetched_once_and_the_layer_is_the_same_everywhere(workspace: Workspace, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "index", "tool", entry_points="[console_scripts]\ntool = tool:main\n")
    pin(workspace, wheel)
    assert workspace.build().built == {"images/x:packages.wheels", "images/x:packages", "images/x:image"}
    with tarfile.open(workspace.root / "build/images/x/packages.tar") as tar:
        found = {member.name: member for member in tar}
    assert found["opt/venv/bin/tool"].mode == 0o755 and found["opt/venv/bin/python"].linkname == "/usr/bin/python3.11"
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, 0)}

    # Another folder, no index any more, another place for the layer's environment: the wheels come from the store.
    wheel.unlink()
    other = workspace.clone(tmp_path / "elsewhere" / "clone")
    other.environment |= {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "/nowhere",
        "TZ": "Asia/Tokyo",
        "PYTHONHASHSEED": "7",
        "HOME": str(tmp_path),
    }
    other.write({"images/x/BUILD.py": BUILD.replace('python="3.11"', 'python="3.11", prefix="/srv/venv"')})
    assert other.build().built == {"images/x:packages", "images/x:image"}
    other.write({"images/x/BUILD.py": BUILD})
    other.doit("forget", "images/x:packages")
    assert "images/x:packages" in other.build().built
    descriptors = [json.loads((each.root / "build/images/x/packages.json").read_text()) for each in (workspace, other)]
    assert descriptors[0] == descriptors[1]


def test_a_failure_says_what_to_do_and_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "index" / "tool-1.0.tar.gz").write_bytes(b"source")
    workspace.write({"images/x/requirements.txt": f"tool==1.0 --hash=sha256:{'0' * 64}\n"})
    report = workspace.build(code=1)
    assert report.failed == {"images/x:packages.wheels"}
    assert "tool==1.0 (line 1) has no wheel for CPython 3.11" in report.actions["images/x:packages.wheels"]["reason"]
    assert not (workspace.root / "build/images/x/packages.wheels").exists()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"python": "311"}, "python: expected a version of CPython"),
        ({"python": "2.7"}, "python: expected a version of CPython"),
        ({"platform": "linux/amd64"}, "platform: expected a platform as wheels have it"),
        ({"prefix": "opt/venv"}, "prefix: expected an absolute path in the image"),
        ({"prefix": "/opt/../venv"}, "prefix: expected an absolute path in the image"),
        ({"prefix": "/opt/my venv"}, "prefix: expected an absolute path in the image"),
        ({"interpreter": "python3"}, "interpreter: expected an absolute path in the image"),
        ({"compression": "lzma"}, "compression: "),
    ],
)
def test_refused(declare: Callable[..., Any], attributes: dict[str, str], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        declare(python_layer, **{"name": "x", "requirements": "r.txt", "python": "3.11", **attributes})
