"""What commands do when nobody reads what they write."""

from __future__ import annotations

import subprocess

import pytest

from enginewright.oci.layout import write_image
from throwaway import DOIT, Workspace

A, B, C, D = "models/x:a", "models/x:b", "models/x:c", "models/y:d"


def left_alone(workspace: Workspace, *arguments: str, code: int = 0) -> str:
    """Run `doit` with nobody to read its standard output; return what it says on standard error."""
    running = workspace.start(*arguments)
    assert running.stdout is not None and running.stderr is not None
    running.stdout.close()
    told = running.stderr.read()
    assert running.wait() == code
    return told


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "--json", "*"],
        ["query", "*"],
        ["graph", "-o", "-"],
        ["graph", "--json"],
        ["graph"],
        ["plan"],
        ["plan", "--json"],
        ["plan", "--help"],
        ["why", C],
        ["why", C, "--json"],
        ["report"],
        ["report", "--json"],
        ["cache", "stats"],
        ["cache", "gc", "--json"],
        ["cache", "verify"],
        ["list", "--all"],
        ["info", A],
        ["help"],
        ["run"],
        ["help", "build"],
        ["build"],
        ["build", "--verbose"],
        ["forget", A],
        ["clean"],
    ],
)
def test_nothing_is_said_when_nobody_reads_on(workspace: Workspace, arguments: list[str]) -> None:
    workspace.build()
    assert left_alone(workspace, *arguments) == ""


def test_a_build_goes_on_when_nobody_reads_on(workspace: Workspace) -> None:
    assert left_alone(workspace, "build") == ""
    assert workspace.build().up_to_date == {A, B, C, D}
    workspace.write({"models/x/src.txt": "three\n"})
    assert "[1/3]   built    models/x:a" in left_alone(workspace, "build", "--json")
    assert workspace.build().up_to_date == {A, B, C, D}


def test_a_build_goes_on_when_nobody_reads_on_what_it_says_on_standard_error_either(workspace: Workspace) -> None:
    running = workspace.start("build", "--json")
    assert running.stdout is not None and running.stderr is not None
    running.stdout.close()
    running.stderr.close()
    assert running.wait() == 0
    assert workspace.build().up_to_date == {A, B, C, D}


def test_a_failure_is_still_one(workspace: Workspace) -> None:
    workspace.write({"models/y/BUILD.py": workspace.read("models/y/BUILD.py").replace("copy", "fail")})
    assert left_alone(workspace, "build", code=1) == ""


@pytest.mark.parametrize("arguments", ["build", "build --json", "plan", "list"])
def test_output_may_be_closed_from_the_start(workspace: Workspace, arguments: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" {arguments} >&- 2>&-', DOIT], cwd=workspace.root, env=workspace.environment, check=True, capture_output=True
    )
    assert done.stderr == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "--json", "*"],
        ["plan"],
        ["build", "--json"],
        ["inspect", "--json", "layout"],
        ["diff", "layout", "layout"],
        ["list", "--all"],
        ["help"],
        ["run"],
    ],
)
def test_a_disk_that_is_too_full_for_what_is_said(workspace: Workspace, arguments: list[str]) -> None:
    write_image(workspace.root / "layout", {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}}, [], {"x": "y" * 20_000})
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [DOIT, *arguments], cwd=workspace.root, env=workspace.environment, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (3, "ERROR: standard output: No space left on device"), done.stderr
    assert "Traceback" not in done.stderr
