from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.bundle.sums import SUMS, Bundle, decode, seal, unsealed
from enginewright.errors import ActionError

NAMES = st.text(st.characters(blacklist_characters="\\\r\n/\0", blacklist_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in (".", "..")
)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/engine").write_bytes(b"engine")
    (tmp_path / "a naïve name").write_bytes(b"")
    return tmp_path


def test_coreutils_agrees(folder: Path) -> None:
    seal(folder)
    done = subprocess.run(["sha256sum", "--strict", "--check", SUMS], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a naïve name: OK\nsub/engine: OK\n")
    (folder / "sub/engine").write_bytes(b"Engine")
    assert subprocess.run(["sha256sum", "--strict", "--check", SUMS], cwd=folder, capture_output=True).returncode == 1


def test_what_is_not_as_it_was_sealed(folder: Path) -> None:
    bundle = seal(folder)
    assert unsealed(folder, bundle) == ""
    (folder / "sub/engine").write_bytes(b"Engine")
    assert unsealed(folder, bundle) == "sub/engine has other bytes than SHA256SUMS says"
    (folder / "sub/engine").unlink()
    assert unsealed(folder, bundle) == "sub/engine is missing"


def test_the_name_is_that_of_the_list(folder: Path) -> None:
    bundle = seal(folder)
    printed = subprocess.run(["sha256sum", SUMS], cwd=folder, capture_output=True, text=True).stdout
    assert bundle.name == f"sha256-{printed.split()[0]}"


@given(st.dictionaries(NAMES, DIGESTS, min_size=1))
def test_what_is_written_is_read_again(files: dict[str, str]) -> None:
    assert decode(Bundle(files).encode(), "here") == Bundle(files)


@pytest.mark.parametrize("name", ["line\nbreak", "back\\slash", SUMS])
def test_names_that_a_list_cannot_hold(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ActionError, match="cannot be the name of a file in a bundle"):
        seal(tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense\n", b"0" * 63 + b"  a\n", b"0" * 64 + b"  ../a\n", b"0" * 64 + b"  /etc/passwd\n", b"0" * 64 + b" *a\n", b"\xff\n"],
)
def test_what_is_no_list(data: bytes) -> None:
    with pytest.raises(ActionError, match=r"^there/SHA256SUMS is not the list of a bundle's files"):
        decode(data, "there/SHA256SUMS")
