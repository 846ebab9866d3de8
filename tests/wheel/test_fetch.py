"""Fetching with the real pip, from a folder of wheels: --no-index, so that no network is asked."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from enginewright.errors import ActionError
from enginewright.wheel.fetch import fetch, fetch_wheels
from enginewright.wheel.requirements import Pins, read_requirements
from enginewright.wheel.target import Target
from wheels import make_wheel

TARGET = Target("3.11", "manylinux_2_28_x86_64")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def pins(*lines: str) -> Pins:
    return read_requirements("\n".join(lines), "requirements.txt", TARGET.markers())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_wheels_for_the_target_are_fetched(index: Path, tmp_path: Path) -> None:
    any_one = make_wheel(index, "a", requires=["not-there"])
    right = make_wheel(index, "b", tag="cp311-cp311-manylinux_2_28_x86_64")
    wrong = make_wheel(index, "b", tag="cp312-cp312-manylinux_2_28_x86_64")
    fetch_wheels(
        pins(f"a==1.0 --hash=sha256:{sha256(any_one)}", f"b==1.0 --hash=sha256:{sha256(wrong)} --hash=sha256:{sha256(right)}"),
        TARGET, tmp_path / "out",
    )  # fmt: skip
    assert {path.name for path in (tmp_path / "out").iterdir()} == {any_one.name, right.name}


def test_another_digest_is_not_taken(index: Path, tmp_path: Path) -> None:
    found = sha256(make_wheel(index, "a"))
    with pytest.raises(ActionError, match=rf"^a==1\.0: its SHA-256 is not one .* \(line 2\)\n  expected {'0' * 64}\n  found    {found}\n"):
        fetch_wheels(pins("", f"a==1.0 --hash=sha256:{'0' * 64}"), TARGET, tmp_path / "out")


@pytest.mark.parametrize("there", ["sdist", "another platform", "nothing"])
def test_no_wheel_for_the_target(index: Path, tmp_path: Path, there: str) -> None:
    if there == "sdist":
        (index / "a-1.0.tar.gz").write_bytes(b"source")
    elif there == "another platform":
        make_wheel(index, "a", tag="cp311-cp311-win_amd64")
    with pytest.raises(ActionError) as caught:
        fetch_wheels(pins(f"a==1.0 --hash=sha256:{'0' * 64}"), TARGET, tmp_path / "out")
    assert str(caught.value).startswith(
        "a==1.0 (line 1) has no wheel for CPython 3.11 on manylinux_2_28_x86_64 where pip looks: source distributions are not taken"
    )


def test_an_index_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ActionError, match="pip could not reach its index"):
        fetch_wheels(pins(f"a==1.0 --hash=sha256:{'0' * 64}"), TARGET, tmp_path / "out")


def test_the_file_as_an_editor_wrote_it(index: Path, tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    params = {"python": TARGET.python, "platform": TARGET.platform}
    pin = f"a==1.0 --hash=sha256:{sha256(make_wheel(index, 'a'))}\r\n"
    requirements.write_bytes(pin.encode("utf-8-sig"))
    fetch({"requirements": requirements}, {"wheels": tmp_path / "out"}, params)
    requirements.write_bytes(b"caf\xe9==1.0")
    with pytest.raises(ActionError, match=r"^requirements.txt is no text in UTF-8: .* \(byte 3\)$"):
        fetch({"requirements": requirements}, {"wheels": tmp_path / "other"}, params)
