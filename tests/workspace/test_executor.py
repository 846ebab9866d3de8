from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enginewright.errors import WorkspaceError
from enginewright.workspace.executor import ExecutorSettings, read_executor_settings

ROOT = Path("/workspace")


def read(table: dict[str, Any], environ: dict[str, str] | None = None, **options: Any) -> ExecutorSettings:
    return read_executor_settings(ROOT, table, environ or {}, options)


def test_none() -> None:
    assert read({}) == ExecutorSettings()


def test_the_command_line_wins_over_the_environment_over_the_file() -> None:
    table, environ = {"executor": "grpc://a:1", "jobs": 3, "timeout": 5}, {"ENGINEWRIGHT_REMOTE_EXECUTOR": "grpc://b:1"}
    assert read(table).url == "grpc://a:1"
    assert read(table, environ).url == "grpc://b:1"
    found = read(table, environ, remote_executor="grpcs://c", remote_jobs="7", remote_timeout=None)
    assert (found.url, found.jobs, found.timeout, found.queue_timeout) == ("grpcs://c", 7, 5.0, None)
    assert read(table, environ, remote_executor="").url == ""


@pytest.mark.parametrize("value", ["0", "0.5", "many", ""])
def test_a_number_on_the_command_line_that_makes_no_sense(value: str) -> None:
    with pytest.raises(WorkspaceError, match="--remote-jobs: expected a number greater than 0, got"):
        read({}, remote_jobs=value)


def test_tables_and_lists() -> None:
    found = read({"properties": {"pool": "large"}, "workers": ["workers/h100.json"]})
    assert found.properties == {"pool": "large"} and found.workers == (ROOT / "workers/h100.json",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"executor": 5}, "executor: expected a string, got 5"),
        ({"executor": "http://user:secret@host"}, "executor: expected grpc://HOST:PORT[/INSTANCE] or grpcs://..., got http"),
        ({"executor": "host:8980"}, "executor: expected grpc://HOST:PORT[/INSTANCE] or grpcs://..., got host:8980"),
        ({"jobs": 0.5}, "jobs: expected a number greater than 0, got 0.5"),
        ({"jobs": 0}, "jobs: expected a number greater than 0, got 0"),
        ({"jobs": True}, "jobs: expected a number greater than 0, got True"),
        ({"timeout": "soon"}, "timeout: expected a number greater than 0, got 'soon'"),
        ({"queue-timeout": -1}, "queue-timeout: expected a number greater than 0, got -1"),
        ({"properties": {"pool": 1}}, "properties: expected a table of strings"),
        ({"workers": "h100.json"}, "workers: expected a list of files"),
    ],
)
def test_mistakes(table: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        read(table)
    assert str(caught.value).startswith(f"pyproject.toml: [tool.enginewright.remote] {message}")
