from __future__ import annotations

import resource
from pathlib import Path

import pytest
from doit.dependency import JSONCodec

from enginewright.doit_plugin.database import Database


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = Database(str(tmp_path / "doit.json"), JSONCodec())
    written.set("models/x:a", "ignore:", "1")
    written.dump()
    assert Database(str(tmp_path / "doit.json"), JSONCodec()).get("models/x:a", "ignore:") == "1"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "doit.json"), JSONCodec())
    database.set("models/x:a", "ignore:", "1")
    database.dump()
    database.set("models/x:b", "ignore:", "x" * 8192)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as a full disk does, it lets a write end early
    try:
        with pytest.raises(OSError, match=r"doit\.json"):
            database.dump()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    found = Database(str(tmp_path / "doit.json"), JSONCodec())
    assert found.get("models/x:a", "ignore:") == "1"
    assert not found.in_("models/x:b")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"models/x:a": 5}', b"\xff"])
def test_a_damaged_file_counts_as_empty(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "doit.json").write_bytes(content)
    database = Database(str(tmp_path / "doit.json"), JSONCodec())
    assert not database.in_("models/x:a")
    assert capsys.readouterr().err.startswith(f"WARNING: {tmp_path}/doit.json is damaged and counts as empty")
    database.dump()
    Database(str(tmp_path / "doit.json"), JSONCodec())
    assert capsys.readouterr().err == ""
