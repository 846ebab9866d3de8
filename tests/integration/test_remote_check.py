"""`doit remote check`: what it says of caches that work, and of those that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import cacheservers
from faulty import Faults, proxy
from throwaway import Workspace


@pytest.fixture
def casd(tmp_path: Path) -> Iterator[cacheservers.Server]:
    (tmp_path / "casd").mkdir()
    with cacheservers.running(cacheservers.casd(tmp_path / "casd")) as server:
        yield server


def check(workspace: Workspace, *arguments: str, code: int = 0) -> dict[str, tuple[bool | None, str]]:
    """The steps that were tried, with what came of them."""
    told = json.loads(workspace.doit("remote", "check", "--json", *arguments, code=code).stdout)
    return {step["name"]: (step["good"], step["text"]) for step in told["steps"]}


def test_all_is_well(empty: Workspace, casd: cacheservers.Server) -> None:
    option = f"--remote-cache=grpc://{casd.address}"
    steps = check(empty, option)
    assert list(steps) == ["settings", "reach", "look up", "write", "read back"]
    assert all(good for good, _ in steps.values())
    lines = empty.doit("remote", "check", option).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 5
    steps = check(empty, option, "--remote-mode=read")
    assert [good for good, _ in steps.values()] == [True, True, True, None, None]


def test_each_protocol(empty: Workspace, tmp_path: Path) -> None:
    assert check(empty, f"--remote-cache=file://{tmp_path / 'shared'}")["read back"][0]
    (tmp_path / "nginx").mkdir()
    with cacheservers.running(cacheservers.nginx(tmp_path / "nginx")) as server:
        assert check(empty, f"--remote-cache=http://{server.address}")["read back"][0]
    (tmp_path / "closed").mkdir()
    with cacheservers.running(cacheservers.nginx(tmp_path / "closed", "limit_except GET HEAD { deny all; }")) as server:
        steps = check(empty, f"--remote-cache=http://{server.address}", code=1)
        assert steps["look up"][0]
        assert steps["write"] == (False, steps["write"][1])
        assert "403" in steps["write"][1] and "does not allow" in steps["write"][1]


def test_what_is_wrong_is_said(empty: Workspace, casd: cacheservers.Server) -> None:
    assert "no remote cache is set up" in empty.refuse("remote", "check")
    assert "expected check" in empty.refuse("remote")
    steps = check(empty, f"--remote-cache=grpc://127.0.0.1:{cacheservers.free_port()}", code=1)
    assert list(steps) == ["settings", "reach"] and "cannot be reached" in steps["reach"][1]
    for name in [name for name in empty.environment if name.startswith("AWS_")]:
        del empty.environment[name]
    steps = check(empty, "--remote-cache=s3://nowhere", code=1)
    assert "there are no credentials: set AWS_ACCESS_KEY_ID" in steps["reach"][1]
    with proxy(casd.address, Faults(token="t")) as address:
        steps = check(empty, f"--remote-cache=grpc://{address}", code=1)
        assert "UNAUTHENTICATED" in steps["reach"][1] and "ENGINEWRIGHT_REMOTE_TOKEN" in steps["reach"][1]
        empty.environment["ENGINEWRIGHT_REMOTE_TOKEN"] = "t"
        assert check(empty, f"--remote-cache=grpc://{address}")["read back"][0]
    with proxy(casd.address, Faults(mangle=lambda method, data: b"" if method == "Read" else data)) as address:
        steps = check(empty, f"--remote-cache=grpc://{address}", code=1)
        assert steps["read back"] == (False, "it did not give a large blob as it took it")
