from __future__ import annotations

from pathlib import Path

import pytest

from enginewright.errors import WorkspaceError
from enginewright.workspace.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ENGINEWRIGHT_STORE", raising=False)


def read(root: Path, toml: str) -> Settings:
    (root / "pyproject.toml").write_text(toml)
    return read_settings(root)


def problem(root: Path, toml: str) -> str:
    with pytest.raises(WorkspaceError) as caught:
        read(root, toml)
    return str(caught.value)


def test_a_workspace_without_settings_has_defaults(tmp_path: Path) -> None:
    defaults = Settings(packages=("models/*", "images/*"), store=tmp_path / "home/.cache/enginewright")
    assert read_settings(tmp_path) == defaults
    assert read(tmp_path, "") == defaults
    assert read(tmp_path, "[tool.other]\npackages = 3\n") == defaults
    assert read(tmp_path, "[tool.enginewright]\n") == defaults


def test_settings_come_from_the_table(tmp_path: Path) -> None:
    assert read(tmp_path, "[tool.enginewright]\npackages = ['a/*', 'b']\nstore = 'my/store'\n") == Settings(
        packages=("a/*", "b"), store=tmp_path / "my/store"
    )
    assert read(tmp_path, "[tool.enginewright]\nstore = '/var/store'\n").store == Path("/var/store")
    assert read(tmp_path, "[tool.enginewright]\nstore = '~/store'\n").store == tmp_path / "home/store"
    assert read(tmp_path, "[tool.enginewright]\npackages = []\n").packages == ()


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = "[tool.enginewright]\nstore = 'my/store'\n"
    for given, store in [("/var/other", Path("/var/other")), ("other", tmp_path / "other"), ("", tmp_path / "my/store")]:
        monkeypatch.setenv("ENGINEWRIGHT_STORE", given)
        assert read(tmp_path, toml).store == store


def test_the_cache_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A relative path in it is to be ignored: XDG Base Directory Specification, "Environment variables".
    home = tmp_path / "home/.cache/enginewright"
    for given, store in [("/var/cache", Path("/var/cache/enginewright")), ("relative", home), ("", home)]:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert read_settings(tmp_path).store == store


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[tool.enginewright]\nstor = 'x'\n", "pyproject.toml: [tool.enginewright] has no setting 'stor' (did you mean 'store'?)"),
        (
            "[tool.enginewright]\nz = 1\n",
            "pyproject.toml: [tool.enginewright] has no setting 'z' (there are: compression, packages, remote, store)",
        ),
        (
            "[tool.enginewright]\npackages = 'models/*'\n",
            "pyproject.toml: [tool.enginewright] packages: expected a list of glob patterns, such as ['models/*']",
        ),
        (
            "[tool.enginewright]\npackages = ['a', 1]\n",
            "pyproject.toml: [tool.enginewright] packages: expected a list of glob patterns, such as ['models/*']",
        ),
        ("[tool.enginewright]\nstore = 1\n", "pyproject.toml: [tool.enginewright] store: expected a folder, as a string"),
        ("[tool]\nenginewright = 3\n", "pyproject.toml: [tool.enginewright]: expected a table"),
        ("[[tool.enginewright]]\nstore = 'x'\n", "pyproject.toml: [tool.enginewright]: expected a table"),
        ("[tool.enginewright\n", "pyproject.toml: Expected ']' at the end of a table declaration (at line 1, column 19)"),
        (
            "[tool.enginewright]\nstore = '~no-such-user/store'\n",
            "the folder of the store cannot be told: Could not determine home directory. Set ENGINEWRIGHT_STORE",
        ),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, toml: str, message: str) -> None:
    assert problem(tmp_path, toml) == message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(WorkspaceError, match=r"^pyproject\.toml: 'utf-8' codec can't decode byte 0xff"):
        read_settings(tmp_path)
    (tmp_path / "pyproject.toml").unlink()
    (tmp_path / "pyproject.toml").mkdir()
    with pytest.raises(WorkspaceError, match=r"^pyproject\.toml: .*Is a directory"):
        read_settings(tmp_path)
