from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import WorkspaceError
from enginewright.workspace.shared_cache import CacheSettings, read_cache_settings

ROOT = Path("/nowhere")


def read(table: dict[str, Any] | None = None, environ: dict[str, str] | None = None, **options: Any) -> CacheSettings:
    return read_cache_settings(ROOT, table or {}, environ or {}, options)


def test_nothing_is_set_up_by_itself() -> None:
    assert read() == CacheSettings()


def test_the_command_line_wins_over_the_environment_and_that_over_the_table() -> None:
    table = {"cache": "grpc://table", "mode": "read", "download": "all", "cache-timeout": 3, "required": True}
    environ = {
        "ENGINEWRIGHT_REMOTE_CACHE": "grpc://environment",
        "ENGINEWRIGHT_REMOTE_CACHE_TIMEOUT": "4.5",
        "ENGINEWRIGHT_REMOTE_REQUIRED": "no",
    }
    assert read(table) == CacheSettings("grpc://table", "read", "all", 3.0, True)
    assert read(table, environ) == CacheSettings("grpc://environment", "read", "all", 4.5, False)
    found = read(table, environ, remote_cache="grpc://option", remote_mode="write", remote_required=True, remote_download=None)
    assert found == CacheSettings("grpc://option", "write", "all", 4.5, True)
    assert read(table, environ, remote_cache="", remote_required=False) == CacheSettings("", "read", "all", 4.5, False)


def test_files_are_relative_to_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    assert read_cache_settings(tmp_path, {"tls-ca": "ca.pem"}, {}, {}).ca == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("table", "environ", "message"),
    [
        ({"mode": "reed"}, {}, r"pyproject.toml: \[tool.enginewright.remote\] mode: expected one of read, write, read-write, got 'reed'"),
        ({"cache": 5}, {}, r"cache: expected a string, got 5"),
        ({"required": "yes"}, {}, r"required: expected true or false, got 'yes'"),
        ({"cache-timeout": True}, {}, r"cache-timeout: expected a number of seconds, got True"),
        ({"cache-timeout": 0}, {}, r"cache-timeout: expected a number of seconds greater than 0, got 0"),
        ({}, {"ENGINEWRIGHT_REMOTE_CACHE_TIMEOUT": "soon"}, r"ENGINEWRIGHT_REMOTE_CACHE_TIMEOUT: expected a number of seconds .*'soon'"),
        ({}, {"ENGINEWRIGHT_REMOTE_REQUIRED": "maybe"}, r"ENGINEWRIGHT_REMOTE_REQUIRED: expected yes or no, got 'maybe'"),
        ({"tls-ca": "none.pem"}, {}, r"tls-ca: there is no file /nowhere/none.pem"),
    ],
)
def test_what_makes_no_sense_is_refused(table: dict[str, Any], environ: dict[str, str], message: str) -> None:
    with pytest.raises(WorkspaceError, match=message):
        read(table, environ)
