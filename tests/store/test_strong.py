from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import xxhash

from enginewright.store.strong import StrongDigests

DATA = b"some bytes"
FAST, STRONG = xxhash.xxh3_128_hexdigest(DATA), hashlib.sha256(DATA).hexdigest()


def test_bytes_are_read_once_by_whoever_shares_the_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    first = StrongDigests(tmp_path / "strong")
    assert first.get(FAST) is None
    assert first.of(FAST, tmp_path / "data") == (STRONG, len(DATA))
    (tmp_path / "data").unlink()
    assert first.of(FAST, tmp_path / "data") == (STRONG, len(DATA))
    assert StrongDigests(tmp_path / "strong").get(FAST) == (STRONG, len(DATA))


def test_a_file_that_changed_is_not_taken_for_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"other bytes")
    digests = StrongDigests(tmp_path / "strong")
    with pytest.raises(ValueError, match="other bytes than it had"):
        digests.of(FAST, tmp_path / "data")
    assert not (tmp_path / "strong").exists()


@pytest.mark.parametrize("cut", [1, 2, 20, 100])
def test_what_a_killed_process_left_half_written_is_passed_over(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "strong"
    digests = StrongDigests(path)
    digests.note("0" * 32, "1" * 64, 5)
    digests.note(FAST, STRONG, len(DATA))
    path.write_bytes(path.read_bytes()[:-cut])
    again = StrongDigests(path)
    assert again.get("0" * 32) == ("1" * 64, 5)
    assert again.get(FAST) in (None, (STRONG, len(DATA)), (STRONG, 1))
    again.note(FAST, STRONG, len(DATA))
    assert StrongDigests(path).get(FAST) == (STRONG, len(DATA))


def test_anything_else_in_the_file_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "strong").write_bytes(b"\xff\0 what\n" + b"x" * 1000)
    digests = StrongDigests(tmp_path / "strong")
    digests.note(FAST, STRONG, 3)
    assert StrongDigests(tmp_path / "strong").get(FAST) == (STRONG, 3)


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enginewright.store.strong._MOST", 150)
    digests = StrongDigests(tmp_path / "strong")
    digests.note("0" * 32, "1" * 64, 5)
    digests.note(FAST, STRONG, 3)
    assert StrongDigests(tmp_path / "strong").get(FAST) is None
    assert not (tmp_path / "strong").exists()
