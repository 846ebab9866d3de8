"""The client of registries, against servers that answer as no good registry would; what is done with a good one is in tests/integration."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.client import BadStatusLine
from pathlib import Path
from typing import Any

import pytest

from enginewright.oci.contents import Manifest, read_contents
from enginewright.oci.layout import Descriptor
from enginewright.oci.media import LAYER, MANIFEST
from enginewright.oci.registry import backoff, credentials, upload
from enginewright.oci.registry.client import Client, Repository, digest_of
from enginewright.oci.registry.errors import Cancelled, RegistryError
from enginewright.oci.registry.reference import Reference
from enginewright.oci.registry.transport import Access, dropped
from scripted import Asked, Fault, Says, Server, proxied, scripted

DATA = bytes(range(256)) * 20_000
BLOB = Descriptor(LAYER, digest_of(DATA), len(DATA))
BLOB_PATH = f"/v2/app/blobs/{BLOB.digest}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hardly a pause between attempts, and no logins but those of the test."""
    monkeypatch.setattr(backoff, "_FIRST", 0.001)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@contextmanager
def repository(answer: Callable[[Asked], Says], push: bool = False) -> Iterator[tuple[Repository, Server, list[str]]]:
    """A repository of a server that answers so, and the lines about attempts that are made again."""
    lines: list[str] = []
    with scripted(answer) as server:
        client = Client(notice=lines.append)
        yield client.repository(Reference.parse(f"{server.host}/app"), push), server, lines


def in_turn(*answers: Says) -> Callable[[Asked], Says]:
    """These answers, one after the other, and the last one for ever."""
    left = list(answers)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


def refused(answer: Callable[[Asked], Says] | Says, ask: Callable[[Repository], Any]) -> RegistryError:
    with repository(answer if callable(answer) else in_turn(answer)) as (asked, _, _), pytest.raises(RegistryError) as caught:
        ask(asked)
    return caught.value


def read(repository: Repository) -> bytes:
    return repository.read_blob(BLOB)


ERRORS = json.dumps({"errors": [{"code": "DENIED", "message": "not\nfor \x1b[31myou"}]}).encode()


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "log in with `docker login 127.0.0.1:"),
        (403, "are not allowed to do so"),
        (404, "there is no such image there, or it is not to be seen without logging in"),
        (413, "takes nothing as large"),
        (429, "it wants fewer requests"),
        (500, ""),
        (418, ""),
    ],
)
def test_refusals(status: int, advice: str) -> None:
    error = refused(Says(status, ERRORS), lambda asked: asked.get_manifest("1"))
    assert error.status == status
    assert f" with {status} (DENIED: not for  [31myou)" in str(error) and advice in str(error)
    assert refused(Says(status, b"<html>"), read).status == status


def test_what_goes_away_by_itself() -> None:
    manifest = b"{}"
    answers = in_turn(Says(503), Says(429), Says(500), Says(200, manifest, {"Content-Type": MANIFEST}))
    with repository(answers) as (asked, server, lines):
        assert asked.get_manifest("1")[1] == manifest
    assert server.lines == ["GET /v2/app/manifests/1"] * 4
    name = f"{server.host}/app"
    assert [line.partition(" answered ")[2].partition("; trying again in ")[0] for line in lines] == [
        f"GET app/manifests/1 of {name} with 503",
        f"GET app/manifests/1 of {name} with 429: it wants fewer requests; logging in often allows more",
        f"GET app/manifests/1 of {name} with 500",
    ]


def test_what_does_not_go_away() -> None:
    with repository(in_turn(Says(503))) as (asked, server, _), pytest.raises(RegistryError):
        asked.get_manifest("1")
    assert len(server.asked) == backoff.ATTEMPTS


def test_a_registry_says_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=-5), usegmt=True)
    ask = in_turn(Says(429, headers={"Retry-After": "0"}), Says(503, headers={"Retry-After": soon}), Says(404))
    with repository(ask) as (asked, _, lines):
        assert asked.head_manifest("1") is None
    assert [line.rpartition("; ")[2] for line in lines] == ["trying again in 0.0 s (1 of 4)", "trying again in 0.0 s (2 of 4)"]
    with repository(in_turn(Says(429, headers={"Retry-After": "3600"}))) as (asked, server, lines), pytest.raises(RegistryError):
        asked.head_manifest("1")
    assert len(server.asked) == 1 and not lines, "nobody waits for an hour"
    assert str(refused(Says(503, headers={"Retry-After": "3600"}), read)).endswith("with 503; it asks to wait 3600 s")


def test_an_interrupted_wait() -> None:
    with repository(in_turn(Says(429, headers={"Retry-After": "60"}))) as (asked, _, _):
        threading.Timer(0.2, asked.client.cancelled.set).start()
        with pytest.raises(Cancelled):
            asked.head_manifest("1")


def test_nobody_is_there() -> None:
    with pytest.raises(RegistryError, match=r"the connection to 127\.0\.0\.1:1 failed: Connection refused"):
        Client().repository(Reference.parse("127.0.0.1:1/app")).head_manifest("1")


def test_what_is_no_registry() -> None:
    """As a page that says that the service is being maintained."""
    assert str(dropped("h", BadStatusLine("<html>\r\n\x1b[1m"))) == "the connection to h failed: <html>   [1m"
    error = refused(Says(200, b"<html>"), lambda asked: asked.put_manifest("1", MANIFEST, b"{}"))
    assert str(error).endswith(" with 200, as no registry does: is it one, or is something else before it?")


def test_other_bytes_for_a_manifest() -> None:
    asked_for = "sha256:" + "0" * 64
    error = refused(Says(200, b"{}", {"Content-Type": MANIFEST}), lambda asked: asked.get_manifest(asked_for))
    assert f"sends for {asked_for} are other bytes: their digest is {digest_of(b'{}')}" in str(error)
    error = refused(Says(200, b"{}", {"Docker-Content-Digest": asked_for}), lambda asked: asked.get_manifest("1"))
    assert f"sends for {asked_for} are other bytes" in str(error)


def test_a_manifest_that_is_too_large() -> None:
    error = refused(Says(400, ERRORS), lambda asked: asked.put_manifest("1", MANIFEST, bytes(5 << 20)))
    assert "a push of 1, a manifest of 5.0 MiB where registries need not take more than 4, of" in str(error)


def test_a_manifest_without_end() -> None:
    error = refused(Says(200, bytes(9 << 20)), lambda asked: asked.get_manifest("1"))
    assert "answers with more than 8 MiB where a manifest or a message was expected" in str(error)


@pytest.mark.parametrize(
    ("media_type", "value", "problem"),
    [
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", {}, "is a manifest of an unknown type, 'application/vnd.docker"),
        ("", {}, "is a manifest of an unknown type, ''"),
        (MANIFEST, [], "is malformed: it is no JSON object"),
        (MANIFEST, "deep", "is malformed: it is nested too deep"),
        (MANIFEST, {"config": {}}, "is malformed: it has no 'layers'"),
        (MANIFEST, {"config": {"digest": "sha256:../../x", "size": 1, "mediaType": ""}, "layers": []}, "is not a SHA-256 digest"),
        (MANIFEST, {"config": {**BLOB.to_json(), "size": "1"}, "layers": []}, "is malformed: '1' is no size of a blob"),
        (MANIFEST, {"config": {**BLOB.to_json(), "size": -1}, "layers": []}, "is malformed: -1 is no size of a blob"),
        (MANIFEST, {"config": {**BLOB.to_json(), "mediaType": 1}, "layers": []}, "is malformed: 1 is no media type"),
    ],
)
def test_manifests_that_are_none(media_type: str, value: Any, problem: str) -> None:
    data = json.dumps(value).encode()
    data = b"[" * 100_000 if value == "deep" else data
    with repository(in_turn(Says(200, data, {"Content-Type": media_type}))) as (asked, _, _), pytest.raises(Exception, match=problem):
        read_contents(Manifest(*asked.get_manifest("1")), lambda wanted: b"", str(asked))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Says(200, DATA[:-1] + b"!"), "the bytes given for sha256:[0-9a-f]+ are others"),
        (Says(200, DATA + b"more"), f"has at least [0-9]+ bytes, not {len(DATA)}"),
    ],
)
def test_other_bytes_for_a_blob(answer: Says, problem: str) -> None:
    with pytest.raises(RegistryError, match=problem):
        raise refused(answer, read)


def test_the_last_bytes_are_given_out_only_when_all_is_right() -> None:
    with repository(in_turn(Says(200, DATA[:-1] + b"!"))) as (asked, _, _), asked.open_blob(BLOB) as stream:
        got = b""
        with pytest.raises(RegistryError):
            while data := stream.read(1 << 20):
                got += data
        assert len(got) < len(DATA)


def test_a_blob_that_is_always_too_short() -> None:
    error = refused(Says(200, DATA[:-5]), read)
    assert f"sent only {len(DATA) - 5} of the {len(DATA)} bytes" in str(error)


def ranges(asked: Asked) -> Says:
    """A registry that knows ranges, and breaks the connection after a million bytes each time."""
    start = int(asked.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    return Says(206 if start else 200, DATA[start:], cut=1_000_000)


def test_a_download_goes_on_where_it_broke_off() -> None:
    with repository(ranges) as (asked, server, lines):
        assert asked.read_blob(BLOB) == DATA
    assert [each.headers.get("Range") for each in server.asked] == [None, *(f"bytes={n}000000-" for n in range(1, 6))]
    assert len(lines) == 5 and all("(1 of 4)" in line for line in lines), "each got further: it is never the second failure"


def test_a_download_without_ranges_begins_anew() -> None:
    with repository(in_turn(Says(200, DATA, cut=1_000_000), Says(200, DATA))) as (asked, server, _):
        assert asked.read_blob(BLOB) == DATA
        assert len(server.asked) == 2


def test_a_blob_from_an_offset_is_checked_too() -> None:
    with repository(in_turn(Says(200, DATA))) as (asked, _, _), asked.open_blob(BLOB, 1000) as stream:
        assert stream.read() == DATA[1000:]
    with repository(ranges) as (asked, server, _), asked.open_blob(BLOB, 1000, hashlib.sha256(DATA[:1000])) as stream:
        assert stream.read() == DATA[1000:]
        assert server.asked[0].headers["Range"] == "bytes=1000-"


def test_a_redirection_elsewhere_takes_no_login_along(tmp_path: Path) -> None:
    with scripted(in_turn(Says(200, DATA))) as storage:

        def answer(asked: Asked) -> Says:
            if "Authorization" not in asked.headers:
                return Says(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            return Says(307, headers={"Location": f"http://{storage.host}/elsewhere?signature=1"})

        with repository(answer) as (asked, server, _):
            log_in(tmp_path, server.host)
            assert asked.read_blob(BLOB) == DATA
        assert storage.lines == ["GET /elsewhere?signature=1"] and "Authorization" not in storage.asked[0].headers


def test_redirections_without_end_and_to_plain_http_elsewhere() -> None:
    assert "redirects again and again" in str(refused(lambda asked: Says(302, headers={"Location": asked.path}), read))
    for location in ("http://[bad", "ftp://192.0.2.1/x", "file:///etc/passwd", "http://127.0.0.1:port/x"):
        assert f"names {location!r} as an address, which is none" in str(refused(Says(302, headers={"Location": location}), read))
    said = str(refused(Says(302, headers={"Location": "http://192.0.2.1/x"}), read))
    assert said.startswith("192.0.2.1 is only to be had by plain HTTP")


def test_plain_http_is_for_this_machine() -> None:
    client = Client()
    assert client.url("ghcr.io", "/v2/") == "https://ghcr.io/v2/"
    assert client.url("docker.io", "/v2/") == "https://registry-1.docker.io/v2/"
    assert client.url("127.0.0.1:5000", "/v2/") == "http://127.0.0.1:5000/v2/"
    assert client.url("localhost:5000", "/v2/") == "http://localhost:5000/v2/"
    assert client.url("127.0.0.1.example.com", "/v2/") == "https://127.0.0.1.example.com/v2/"
    assert Client(Access(plain_http=True)).url("10.0.0.5:5000", "/v2/") == "http://10.0.0.5:5000/v2/"


def log_in(folder: Path, host: str, **entry: str) -> None:
    auth = base64.b64encode(b"user:secret").decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: entry or {"auth": auth}}}))


def tokens(token: str = "good", accepted: str = "good", status: int = 200) -> Callable[[Asked], Says]:
    """A registry with a token service of its own."""

    def answer(asked: Asked) -> Says:
        if asked.path.startswith("/token"):
            return Says(status, json.dumps({"token": token}).encode())
        if asked.headers.get("Authorization") == f"Bearer {accepted}":
            return Says(404)
        realm = f"http://{asked.headers['Host']}/token"
        return Says(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="reg",scope="repository:app:pull"'})

    return answer


def test_tokens(tmp_path: Path) -> None:
    with repository(tokens(), push=True) as (asked, server, _):
        assert asked.head_manifest("1") is None
        assert asked.head_manifest("2") is None
        assert server.lines == [
            "HEAD /v2/app/manifests/1",
            "GET /token?service=reg&scope=repository%3Aapp%3Apull%2Cpush",
            "HEAD /v2/app/manifests/1",
            "HEAD /v2/app/manifests/2",
        ]
        assert "Authorization" not in server.asked[1].headers, "nobody is logged in"
    with repository(tokens()) as (asked, server, _):
        log_in(tmp_path, server.host)
        assert asked.head_manifest("1") is None
        assert server.asked[1].headers["Authorization"] == "Basic " + base64.b64encode(b"user:secret").decode()


def test_an_identity_token(tmp_path: Path) -> None:
    with repository(tokens()) as (asked, server, _):
        log_in(tmp_path, server.host, identitytoken="long lived", auth="dTpw")
        assert asked.head_manifest("1") is None
    assert server.lines[1] == "POST /token"
    assert b"grant_type=refresh_token" in server.asked[1].body and b"refresh_token=long+lived" in server.asked[1].body


def test_a_token_that_ran_out() -> None:
    current = ["first"]

    def answer(asked: Asked) -> Says:
        return tokens(token=current[0], accepted=current[0])(asked)

    with repository(answer) as (asked, server, _):
        assert asked.head_manifest("1") is None
        current[0] = "second"
        assert asked.head_manifest("2") is None
        assert server.lines.count("GET /token?service=reg&scope=repository%3Aapp%3Apull") == 2


def test_a_token_that_ran_out_while_a_blob_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blob is sent again with another one, and as before: whole."""
    monkeypatch.setattr(upload, "_PART", 100)
    given = iter(["first", "second", "third"])

    def answer(asked: Asked) -> Says:
        if asked.path.startswith("/token"):
            return Says(200, json.dumps({"token": next(given)}).encode())
        if asked.headers.get("Authorization") is None or (asked.method, asked.headers["Authorization"]) == ("PUT", "Bearer first"):
            return Says(401, headers={"WWW-Authenticate": f'Bearer realm="http://{asked.headers["Host"]}/token"'})
        return {"POST": Says(202, headers={"Location": "/v2/app/blobs/uploads/1"}), "PUT": Says(201)}.get(asked.method, Says(404))

    with repository(answer, push=True) as (asked, server, lines):
        asked.put_blob(BLOB, lambda offset: io.BytesIO(DATA[offset:]))
    sent = [(each.method, len(each.body)) for each in server.asked if each.method in ("PUT", "PATCH")]
    assert sent == [("PUT", len(DATA))] * 2 and len(lines) == 1 and "ran out; trying again" in lines[0]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (tokens(accepted="another"), "with 401: log in with `docker login"),
        (tokens(status=401), "its token service refuses the login in Docker's configuration"),
        (tokens(token="a\nb"), "answered with something other than a token"),
        (in_turn(Says(401, headers={"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'})), "which is no address"),
        (in_turn(Says(401, headers={"WWW-Authenticate": 'Bearer realm="http://[bad"'})), "which is no address"),
        (in_turn(Says(401, headers={"WWW-Authenticate": "Negotiate"})), "with 401: log in with `docker login"),
    ],
)
def test_a_login_that_is_refused(tmp_path: Path, answer: Callable[[Asked], Says], problem: str) -> None:
    with repository(answer) as (asked, server, _):
        log_in(tmp_path, server.host)
        with pytest.raises(RegistryError, match=problem) as caught:
            asked.get_manifest("1")
        assert "secret" not in str(caught.value) and len(server.asked) < 5


def test_a_credential_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-mine"
    helper.write_text('#!/bin/sh\nread server\necho "{\\"Username\\": \\"for $server\\", \\"Secret\\": \\"s\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {"h:1": "mine"}}))
    found = credentials.find_credentials("h:1")
    assert found and (found.username, found.password) == ("for h:1", "s")
    assert "s'" not in repr(found)
    assert credentials.find_credentials("h:2") is None
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "missing"}))
    with pytest.raises(RegistryError, match=r"the login for h:1 in .* cannot be used: .*docker-credential-missing not installed"):
        credentials.find_credentials("h:1")


@pytest.mark.parametrize(
    "text", ["{", '{"auths": {"h:1": {"auth": "c2VjcmV0"}}}', '{"auths": {"h:1": {"auth": "!"}}}', '{"auths": {"h:1": 1}}']
)
def test_a_damaged_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RegistryError, match=r"config.json.* cannot be") as caught:
        credentials.find_credentials("h:1")
    assert "secret" not in str(caught.value)


def test_a_login_is_not_asked_for_where_none_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with repository(in_turn(Says(404))) as (asked, _, _):
        assert asked.head_manifest("1") is None


def test_a_proxy_in_between_does_harm() -> None:
    """The faults that tests/integration relies on."""
    with scripted(in_turn(Says(200, DATA))) as server:
        faults = [Fault("GET", "blobs", flip=True), Fault("GET", "blobs", received=100)]
        with proxied(server.host, faults) as proxy:
            repository = Client().repository(Reference.parse(f"{proxy.host}/app"))
            with pytest.raises(RegistryError, match="are others"):
                repository.read_blob(BLOB)
            assert repository.read_blob(BLOB) == DATA
            assert proxy.lines == [f"GET {BLOB_PATH}"] * 3


def test_tokens_that_are_never_good_enough(tmp_path: Path) -> None:
    """A token service may give out another one each time; that is no reason to ask for ever."""
    count = iter(range(1000))
    with repository(lambda asked: tokens(token=f"number {next(count)}")(asked)) as (asked, server, _):
        with pytest.raises(RegistryError, match="with 401"):
            asked.get_manifest("1")
        assert len(server.asked) == 3


def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for what is not on this machine, unless NO_PROXY says otherwise."""
    with scripted(in_turn(Says(404))) as proxy:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
        plain = Client(Access(plain_http=True))
        assert plain.repository(Reference.parse("registry.example:5000/app")).head_manifest("1") is None
        assert proxy.lines == ["HEAD http://registry.example:5000/v2/app/manifests/1"]
        with repository(in_turn(Says(404))) as (asked, server, _):
            assert asked.head_manifest("1") is None and len(server.asked) == 1
        assert len(proxy.asked) == 1
        # Without a scheme, as many tools read it, and with a login.
        monkeypatch.setenv("http_proxy", f"user:p%40ss@{proxy.host}")
        plain = Client(Access(plain_http=True))
        assert plain.repository(Reference.parse("registry.example:5000/app")).head_manifest("1") is None
        assert proxy.asked[1].headers["proxy-authorization"] == "Basic " + base64.b64encode(b"user:p@ss").decode()
        assert "Authorization" not in proxy.asked[1].headers


def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    asked = Reference.parse("registry.example/app")
    for text in ("socks5://user:secret@127.0.0.1:1", "http://[secret"):
        monkeypatch.setenv("https_proxy", text)
        with pytest.raises(RegistryError, match=r"what the variable https_proxy names is no proxy by which registry.example can") as caught:
            Client().repository(asked).head_manifest("1")
        assert "secret" not in str(caught.value)
    monkeypatch.setenv("https_proxy", "127.0.0.1:1")
    with pytest.raises(RegistryError, match=r"to registry.example, by the proxy that the environment names, failed: Connection refused"):
        Client().repository(asked).head_manifest("1")
