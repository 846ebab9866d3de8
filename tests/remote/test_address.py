from __future__ import annotations

from pathlib import Path

import pytest

from enginewright.errors import WorkspaceError
from enginewright.remote.address import Access, parse, read_token, s3_endpoint


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("grpc://cache:8980", "cache", 8980, ""),
        ("grpc://cache", "cache", 8980, ""),
        ("grpcs://cache.example.com/team/models", "cache.example.com", 443, "team/models"),
        ("grpc://[::1]:9092", "::1", 9092, ""),
        ("http://cache:8080/bazel/", "cache", 8080, "bazel"),
        ("s3://bucket/prefix/more", "bucket", 0, "prefix/more"),
        ("file:///srv/cache", "", 0, "/srv/cache"),
        ("file://localhost/srv/cache", "", 0, "/srv/cache"),
    ],
)
def test_addresses(text: str, host: str, port: int, path: str) -> None:
    address = parse(text)
    assert (address.host, address.port, address.path) == (host, port, path)
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["cache:8980", "", "ftp://cache", "grpc://", "grpc://cache:no", "grpc://cache:99999", "file://srv/cache", "file://", "file:cache"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(WorkspaceError):
        parse(text)


@pytest.mark.parametrize("text", ["https://me:secret@cache", "grpcs://secret@cache:1", "https://cache/?token=secret"])
def test_a_secret_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        parse(text)
    assert "secret" not in str(caught.value)


def test_a_token_goes_nowhere_in_clear_text() -> None:
    access = Access(token="secret")
    assert "secret" not in repr(access)
    assert access.headers(parse("grpcs://cache")) == {"authorization": "Bearer secret"}
    assert access.headers(parse("grpc://localhost:1")) == {"authorization": "Bearer secret"}
    with pytest.raises(WorkspaceError, match="grpcs://") as caught:
        access.headers(parse("grpc://cache:1"))
    assert "secret" not in str(caught.value)


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENGINEWRIGHT_REMOTE_TOKEN", raising=False)
    assert read_token(None) == ""
    monkeypatch.setenv("ENGINEWRIGHT_REMOTE_TOKEN", " a ")
    assert read_token(None) == "a"
    (tmp_path / "token").write_text("b\n")
    assert read_token(tmp_path / "token") == "b"
    with pytest.raises(WorkspaceError, match="No such file"):
        read_token(tmp_path / "none")


def test_where_s3_is() -> None:
    assert s3_endpoint({}) == ""
    assert s3_endpoint({"AWS_ENDPOINT_URL": "https://b", "AWS_ENDPOINT_URL_S3": "http://a:9000"}) == "http://a:9000"


@pytest.mark.parametrize("text", ["", "minio:9000", "//minio:9000", "http://", "ftp://minio", "http://[bad", "http://minio:port"])
def test_an_endpoint_that_is_no_url_is_named_with_its_variable(text: str) -> None:
    with pytest.raises(WorkspaceError, match="AWS_ENDPOINT_URL: expected http"):
        s3_endpoint({"AWS_ENDPOINT_URL": text})
