from __future__ import annotations

from collections.abc import Callable

import pytest

from enginewright.errors import WorkspaceError
from enginewright.remote.address import parse
from enginewright.remote.bucket import BucketObjects
from enginewright.remote.errors import RemoteError
from scripted import Says, scripted

NO_BUCKET = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InvalidBucketName</Code><Resource>/x</Resource></Error>'


def refused(monkeypatch: pytest.MonkeyPatch, answer: Says, call: Callable[[BucketObjects], object]) -> str:
    """What is told of a call to a bucket of a server that answers so."""
    with scripted(lambda asked: answer) as server:
        for name, value in {"ENDPOINT_URL": f"http://{server.host}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "c"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        with pytest.raises(RemoteError) as caught:
            call(BucketObjects(parse("s3://x/z"), 5))
    return str(caught.value)


def test_what_a_server_said_is_quoted_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, Says(400, NO_BUCKET), lambda it: it.put("ac/1", b"result")).endswith("400 Bad Request: InvalidBucketName")


def test_who_may_not_list_is_told_what_a_refusal_may_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "s3:ListBucket" in refused(monkeypatch, Says(403), lambda it: it.has("cas/1"))
    assert "s3:ListBucket" not in refused(monkeypatch, Says(403), lambda it: it.put("cas/1", b""))


def test_an_account_that_is_missing_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(WorkspaceError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        BucketObjects(parse("az://models"), 5)
