from __future__ import annotations

import pytest

from enginewright.errors import WorkspaceError
from enginewright.remote.address import parse
from enginewright.remote.bucket import BucketObjects
from enginewright.remote.errors import RemoteError
from scripted import Says, scripted

NO_BUCKET = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InvalidBucketName</Code><Resource>/x</Resource></Error>'


def test_what_a_server_said_is_quoted_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(lambda asked: Says(400, NO_BUCKET)) as server:
        for name, value in {"URL": f"http://{server.host}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "c"}.items():
            monkeypatch.setenv(f"AWS_ENDPOINT_{name}" if name == "URL" else f"AWS_{name}", value)
        with pytest.raises(RemoteError) as caught:
            BucketObjects(parse("s3://x_y/z"), 5).put("ac/1", b"result")
    assert str(caught.value).endswith("400 Bad Request: InvalidBucketName")


def test_an_account_that_is_missing_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(WorkspaceError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        BucketObjects(parse("az://models"), 5)
