from __future__ import annotations

from pathlib import Path

import pytest

from enginewright import glob
from enginewright.errors import DeclarationError
from enginewright.workspace.packages import load_packages
from throwaway import PYPROJECT, Workspace

FILES = ("photos/b.jpg", "photos/a.jpg", "photos/.hidden.jpg", "photos/notes.txt", "photos/more/c.jpg", "top.jpg")


def listed(root: Path, pattern: str) -> tuple[list[str], list[str]]:
    """What a BUILD.py finds, as the inputs it declares, and the folders that are watched."""
    for name in FILES:
        (root / "models/x" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "models/x" / name).touch()
    call = f"python_action(name='a', function='f.py:f', inputs={{n: n for n in glob({pattern!r})}}, outputs={{'o': 'o'}})"
    (root / "models/x/BUILD.py").write_text(f"from enginewright import glob, python_action\n{call}\n")
    watched: list[str] = []
    (declared,) = load_packages(root, ["models/x"], watched.append)["models/x"]
    return list(vars(declared.rule)["inputs"]), watched


@pytest.mark.parametrize(
    ("pattern", "found", "folder"),
    [
        ("photos/*.jpg", ["photos/a.jpg", "photos/b.jpg"], "models/x/photos"),
        ("photos/[b-z]*", ["photos/b.jpg", "photos/notes.txt"], "models/x/photos"),
        ("photos/.*", ["photos/.hidden.jpg"], "models/x/photos"),
        ("photos/more/?.jpg", ["photos/more/c.jpg"], "models/x/photos/more"),
        ("*.jpg", ["top.jpg"], "models/x"),
    ],
)
def test_files_that_match(tmp_path: Path, pattern: str, found: list[str], folder: str) -> None:
    assert listed(tmp_path, pattern) == (found, [folder])


def test_all_files_below_a_folder(tmp_path: Path) -> None:
    found, watched = listed(tmp_path, "photos/**")
    assert found == ["photos/a.jpg", "photos/b.jpg", "photos/more/c.jpg", "photos/notes.txt"]
    assert watched == ["models/x/photos", "models/x/photos/more"]


@pytest.mark.parametrize("pattern", ["photos/", "*/a.jpg", "../y/*.jpg", "/etc/*", "photos//*", "photos/\0"])
def test_a_pattern_that_is_none(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DeclarationError, match=r"models/x/BUILD.py:2: glob\(\): .* is not a folder below the package"):
        listed(tmp_path, pattern)


@pytest.mark.parametrize("pattern", ["photos/*.png", "nowhere/*.jpg", "top.jpg/*"])
def test_nothing_matches(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DeclarationError, match=r"models/x/BUILD.py:2: glob\(\): no file of models/x matches "):
        listed(tmp_path, pattern)


def test_outside_a_build_file() -> None:
    with pytest.raises(DeclarationError, match=r"glob\(\) lists files of a package: call it in a BUILD.py"):
        glob("*.jpg")


def test_a_file_that_comes_or_goes_is_noticed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", tmp_path / "store", tmp_path / "trace")
    workspace.write({"dodo.py": "", "pyproject.toml": PYPROJECT, "models/x/make.py": workspace.make, "models/x/texts/a.txt": "a\n"})
    inputs = "{name: name for name in glob('texts/*.txt')}"
    call = f"python_action(name='all', function='make.py:copy', inputs={inputs}, outputs={{'out': 'out.txt'}})"
    workspace.write({"models/x/BUILD.py": f"from enginewright import glob, python_action\n{call}\n"})
    target = {"models/x:all"}
    assert workspace.build().built == target
    assert workspace.build().up_to_date == target
    workspace.write({"models/x/texts/b.txt": "b\n"})
    assert workspace.build().built == target
    assert workspace.read("build/models/x/all/out.txt") == "a\nb\n"
    workspace.write({"models/x/texts/c.jpg": "c"})
    assert workspace.build().up_to_date == target
    (workspace.root / "models/x/texts/a.txt").unlink()
    assert workspace.build().built == target
    assert workspace.read("build/models/x/all/out.txt") == "b\n"
