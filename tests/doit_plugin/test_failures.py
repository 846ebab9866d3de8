"""How an action fails: what `doit build` says, where the log is, and what is left behind."""

from __future__ import annotations

import re
import socket

import pytest

from throwaway import Workspace

FAILING = """
import os, pathlib, signal, socket, subprocess, sys

def fail(inputs, outputs, params):
    print("this is printed")
    print("so is this", file=sys.stderr)
    {body}
"""
DECLARED = """
from enginewright import python_action

python_action(name="a", function="make.py:fail", inputs={"src": "src.txt"}, outputs={"out": "out.txt"})
"""


def failure(workspace: Workspace, body: str) -> str:
    """What is said of an action that does this, after its label and mnemonic."""
    workspace.write({"models/x/BUILD.py": DECLARED, "models/x/make.py": FAILING.format(body=body)})
    done = workspace.doit("build", "models/x", code=1)
    assert done.stderr == ""
    match = re.search(
        r"^\[1/1\]   FAILED   models/x:a \(PythonAction\): (.*)\n        log: (\S+)\nbuilt 0, [^\n]*\n\Z", done.stdout, re.S | re.M
    )
    assert match, done.stdout
    assert workspace.read(match[2]).startswith("this is printed\nso is this\n")
    assert not [path for path in workspace.files() if path.startswith("models/x/")]
    assert workspace.leftovers() == []
    return match[1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # What it did not declare.
        (
            'open("models/x/more.txt")',
            "reads models/x/more.txt, which is not among its declared inputs: add 'more.txt' to srcs",
        ),
        (
            'open(params["workspace"] + "/models/x/more.txt") if params else (inputs["src"].resolve().parent / "more.txt").read_text()',
            "reads models/x/more.txt, which is not among its declared inputs: add 'more.txt' to srcs",
        ),
        (
            'os.listdir(inputs["src"].resolve().parent)',
            "reads models/x, which is not among its declared inputs",
        ),
        (
            '(inputs["src"].resolve().parents[1] / "y/src.txt").read_bytes()',
            "reads models/y/src.txt, which is not among its declared inputs: move or link it into the package, and add it to srcs",
        ),
        (
            'open("build/models/y/d/out.txt")',
            "reads build/models/y/d/out.txt, which is not among its declared inputs: name the target that makes it in an attribute",
        ),
        ("import beside", "models/x/beside.py is there, but it is not among the action's declared inputs: add it to srcs"),
        ("import xxhash", "xxhash is installed, but it is not in this action's toolchain: add its distribution to packages"),
        # What it may not write.
        (
            'inputs["src"].resolve().write_text("x")',
            "writes to models/x/src.txt: an action may write its outputs and temporary files only",
        ),
        ('open("/etc/enginewright", "w")', "writes to /etc/enginewright: an action may write its outputs and temporary files only"),
        (
            'outputs["out"].touch(); pathlib.Path("stray").touch()',
            "wrote stray, which is not among its declared outputs: write temporary files below tempfile.gettempdir()",
        ),
        # Outputs that are none.
        ("pass", "did not write its output build/models/x/a/out.txt"),
        ('outputs["out"].mkdir()', "made its output build/models/x/a/out.txt a folder; it is declared as a file"),
        (
            'outputs["out"].symlink_to("/etc/passwd")',
            "made its output build/models/x/a/out.txt a symbolic link (to /etc/passwd): write the ",
        ),
        # Ways to end.
        (
            'raise ValueError("no such thing")',
            'fail() failed:\n  models/x/make.py:6, in fail: raise ValueError("no such thing")\n  ValueError: no such thing',
        ),
        ("sys.exit(7)", "SystemExit: 7"),
        ("os._exit(7)", "its process ended with status 7 and no result"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process was killed by SIGKILL; was the machine out of memory?"),
        ("os.abort()", "its process was killed by SIGABRT"),
        ("bytes(2 ** 62)", "MemoryError"),
    ],
)
def test_the_reason_is_told(workspace: Workspace, body: str, message: str) -> None:
    workspace.write({"models/x/beside.py": "", "build/models/y/d/out.txt": "two\n"})
    try:
        assert message in failure(workspace, body)
    finally:
        assert workspace.read("models/x/src.txt") == "one\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_network_connection_fails_the_action(workspace: Workspace, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        told = failure(workspace, f'socket.create_connection(("{host}", {port}))')
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert re.search(rf"(connects to|looks up) {host}:{port}: actions have no network; fetch the file and declare it as a source", told)


def test_an_undeclared_read_counts_even_when_it_is_caught(workspace: Workspace) -> None:
    body = "\n    ".join(["try:", "    open('models/x/more.txt')", "except Exception:", "    pass", "outputs['out'].touch()"])
    assert failure(workspace, body).startswith("reads models/x/more.txt, which is not among its declared inputs")


def test_what_is_declared_may_be_read_and_imported(workspace: Workspace) -> None:
    declared = DECLARED.replace("outputs=", 'srcs=["beside.py", "more.txt"], packages=["xxhash"], outputs=')
    body = "import beside, xxhash; outputs['out'].write_text(beside.NAME + open('models/x/more.txt').read())"
    workspace.write({"models/x/BUILD.py": declared, "models/x/make.py": FAILING.format(body=body), "models/x/beside.py": "NAME = 'x'"})
    workspace.doit("build", "models/x")
    assert workspace.read("build/models/x/a/out.txt") == "xmore\n"


def test_what_an_action_leaves_running_is_ended(workspace: Workspace) -> None:
    sleep = "read pid _ < /proc/self/stat; echo $pid; exec sleep 600"  # its number outside a namespace of its own
    body = f"outputs['out'].write_text(subprocess.Popen(['sh', '-c', '{sleep}'], stdout=-1, text=True).stdout.readline().strip())"
    workspace.write({"models/x/BUILD.py": DECLARED, "models/x/make.py": FAILING.format(body=body)})
    workspace.doit("build", "models/x")
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        stat = open(f"/proc/{workspace.read('build/models/x/a/out.txt')}/stat").read()
        # Without a process that reaps it, it stays as a zombie.
        if stat.rpartition(")")[2].split()[0] == "Z":
            raise ProcessLookupError


def test_the_log_is_that_of_the_last_run(workspace: Workspace) -> None:
    failure(workspace, "print('first'); sys.exit(1)")
    failure(workspace, "print('second'); sys.exit(1)")
    log = workspace.read("build/.enginewright/logs/models/x/a.log")
    assert "second\n" in log
    assert "first\n" not in log
