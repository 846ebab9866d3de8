"""What native code and child processes can see, change and reach from a mount and a network namespace."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginewright.execute.isolation import NAMESPACE, VARIABLE
from enginewright.execute.namespace import close_off, enter, prepare, unavailable
from enginewright.store.digest import Stat
from sandboxed import Sandbox

GONE = "No such file or directory"
READ_ONLY = "Read-only file system"
_PR_SET_DUMPABLE = 4


@pytest.fixture(autouse=True)
def namespaces(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    why = unavailable([str(sandbox.root)], [str(sandbox.store.scratch)])
    if why:
        assert not (os.environ.get("CI") and os.geteuid() == 0), why
        pytest.skip(f"this machine has no namespaces for actions: {why}")
    monkeypatch.setenv(VARIABLE, NAMESPACE)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """What waits for connections on this machine, and does not wait when it is asked for one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def shell(sandbox: Sandbox, *commands: str, **options: object) -> list[str]:
    """What the child processes of an action printed."""
    told: list[str] = json.loads(sandbox.text(sandbox.run("shell", commands=commands, **options)))  # type: ignore[arg-type]
    return told


def attempt(sandbox: Sandbox, path: Path | str, *ways: str, **options: object) -> list[str]:
    """What an action is told that tries these ways on a file."""
    sandbox.run("attempt", attempts={way: str(path) for way in ways}, **options)  # type: ignore[arg-type]
    return [told for _, told in map(json.loads, sandbox.log.read_text().splitlines())]


def test_the_result_tells_that_it_was_made_in_a_namespace(sandbox: Sandbox) -> None:
    assert sandbox.run("copy").sandbox == "namespace"


def test_an_undeclared_file_is_not_there(sandbox: Sandbox) -> None:
    file = sandbox.write("models/x/labels.txt")
    assert GONE in attempt(sandbox, file, "read_natively")[0]
    assert GONE in attempt(sandbox, "models/x/labels.txt", "read_natively")[0]
    assert shell(sandbox, f"cat {file}", "cat models/x/labels.txt") == [f"cat: {path}: {GONE}\n" for path in (file, "models/x/labels.txt")]


def test_a_declared_file_is_there_under_every_name(sandbox: Sandbox) -> None:
    file = sandbox.write("models/x/labels.txt", "cat")
    options = {"inputs": {"in": "labels.txt"}}
    assert attempt(sandbox, file, "read_natively", **options) == ["'cat'"]
    assert shell(sandbox, f"cat {file}", "cat models/x/labels.txt", **options) == ["cat", "cat"]


def test_of_the_workspace_only_what_is_declared_can_be_listed(sandbox: Sandbox) -> None:
    for path in ("models/x/labels.txt", "models/x/more.txt", "models/y/net.py", "build/models/x/tree/sub/file", "pyproject.toml"):
        sandbox.write(path)
    (listed,) = shell(sandbox, f"cd {sandbox.root}; find . -type f", inputs={"in": "labels.txt"}, trees={"tree": "build/models/x/tree"})
    assert sorted(listed.split()) == ["./build/models/x/tree/sub/file", "./models/x/labels.txt", "./models/x/misdeeds.py"]


def test_a_declared_link_is_there_with_what_it_leads_to(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.txt").write_text("elsewhere ")
    (sandbox.root / "models/x/outer.txt").symlink_to(tmp_path / "elsewhere.txt")
    (sandbox.root / "models/x/inner.txt").symlink_to(sandbox.write("models/y/shared.txt", "shared"))
    (sandbox.root / "models/x/folder").symlink_to(sandbox.write("models/z/sub/file.txt", "deep").parent)
    inputs = {"outer": "outer.txt", "inner": "inner.txt", "deep": "folder/file.txt"}
    names = " ".join(f"models/x/{name}" for name in inputs.values())
    for command in (f"cat {names}", f"cd {sandbox.root}; cat {names}"):
        assert shell(sandbox, command, inputs=inputs) == ["elsewhere shareddeep"]


def test_the_store_is_neither_seen_nor_changed(sandbox: Sandbox) -> None:
    blob = sandbox.store.path(sandbox.store.add_bytes(b"blob"))
    assert all(GONE in told for told in attempt(sandbox, blob, "read_natively", "change_mode_natively", "remove_natively"))
    seen, told = shell(sandbox, f"find {sandbox.store.root} -type f", f"touch {sandbox.store.root}/new")
    assert seen == "" and READ_ONLY in told
    assert blob.read_bytes() == b"blob" and not (sandbox.store.root / "new").exists()


def test_a_store_inside_the_workspace(sandbox: Sandbox) -> None:
    inside = Sandbox(sandbox.root, type(sandbox.store)(sandbox.root / "store"), sandbox.declare)
    file = inside.write("models/x/labels.txt", "cat")
    assert shell(inside, f"cat {file}; ls {inside.store.root}/blobs", inputs={"in": "labels.txt"})[0].startswith("cat")


WAYS = ("change_natively", "change_mode_natively", "remove_natively")


@pytest.mark.parametrize("path", ["models/x/labels.txt", "build/models/y/tree/sub/file", "../outside.txt"])
def test_nothing_but_outputs_and_temporary_files_is_written(sandbox: Sandbox, path: str) -> None:
    file = sandbox.write(path).resolve()
    before = Stat.of(file.stat())
    declared: dict[str, object] = {"inputs": {"in": "labels.txt"}} if "labels" in path else {"trees": {"in": "build/models/y/tree"}}
    if path.startswith(".."):
        declared = {}
    assert all(READ_ONLY in told or "Device or resource busy" in told for told in attempt(sandbox, file, *WAYS, **declared))
    told = shell(sandbox, f"echo changed > {file}", f"mv {file} {file}.old", f"touch {file.parent}/new", f"ln {file} link", **declared)
    assert all(told)
    assert (Stat.of(file.stat()), file.read_text()) == (before, "text")
    assert sorted(each.name for each in file.parent.iterdir() if each.name in (f"{file.name}.old", "new")) == []


def test_not_even_root_gets_out(sandbox: Sandbox) -> None:
    secret = sandbox.write("models/y/secret.txt")
    file = sandbox.write("models/x/labels.txt")
    escapes = [
        f"umount {sandbox.root}",
        f"umount -l {file}",
        f"mount -o remount,bind,rw {file}",
        "mount -o remount,bind,rw /",
        f"mount --bind / {sandbox.root}",
        f"unshare --mount umount {sandbox.root}",
        f"unshare --map-root-user --mount umount {sandbox.root}",
        f"nsenter --mount=/proc/{os.getpid()}/ns/mnt cat {secret}",
        f"cat /proc/{os.getpid()}/root{secret}",
        "ls /proc/1/root/",
        f"echo changed > {file}",
    ]
    told = shell(sandbox, *[f"{each} && cat {secret}" for each in escapes], inputs={"in": "labels.txt"})
    assert len(told) == len(escapes) and all(told) and not any("text" in each.split("\n") for each in told)
    assert (secret.read_text(), file.read_text()) == ("text", "text")


def test_outputs_and_temporary_files_are_written_by_children_too(sandbox: Sandbox) -> None:
    command = "echo 1 > build/models/x/t/made && rm build/models/x/t/made && echo 2 > $TMPDIR/a && echo 3 > ~/b && cat $TMPDIR/a ~/b"
    assert shell(sandbox, command) == ["2\n3\n"]


def test_shared_memory_is_private(sandbox: Sandbox) -> None:
    with open("/dev/shm/enginewright-test", "w"):
        try:
            listed, written = shell(sandbox, "ls /dev/shm", "echo shared > /dev/shm/enginewright-test-2; cat /dev/shm/enginewright-test-2")
        finally:
            os.unlink("/dev/shm/enginewright-test")
    assert "enginewright-test" not in listed.split()
    assert written == "shared\n" and not Path("/dev/shm/enginewright-test-2").exists()


def test_what_processes_share_by_system_v_is_private_and_ends_with_them(sandbox: Sandbox) -> None:
    """As fakeroot's message queues, which nobody would remove after a kill."""
    ours = ctypes.CDLL(None).shmget(0, 4096, 0o600)
    try:
        segments, queues = shell(sandbox, "ipcs --shmems", "ipcmk --queue > /dev/null && ipcs --queues")
        assert "0x" not in segments
        (key,) = [each for each in queues.split() if each.startswith("0x")]
        assert key not in subprocess.run(["ipcs", "--queues"], capture_output=True, text=True, check=True).stdout
    finally:
        ctypes.CDLL(None).shmctl(ours, 0, None)


def test_the_rest_of_the_machine_is_as_it_was(sandbox: Sandbox) -> None:
    commands = [
        "cat /proc/self/comm",
        "grep -c MemTotal /proc/meminfo",
        "echo > /dev/null",
        "head -c 2 /dev/zero | wc -c",
        "test -r /etc/passwd",
    ]
    assert shell(sandbox, *commands) == ["cat\n", "1\n", "", "2\n", ""]


def test_an_action_with_a_gpu_finds_itself_below_proc_as_cuda_does(sandbox: Sandbox) -> None:
    commands = [
        'read pid _ < /proc/$$/stat; test "$pid" = $$ && echo same',
        "echo name > /proc/self/comm && cat /proc/$$/comm",
        "ls /proc | grep -c '^[0-9]'",
        "echo 1 > /proc/sys/vm/overcommit_memory",
    ]
    same, name, processes, refused = shell(sandbox, *commands, requires={"gpu": "sm_90"})
    assert same == "same\n" and name.strip() and int(processes) < 10 and READ_ONLY in refused


@pytest.mark.parametrize("function", ["connect_natively", "connect_by_child"])
def test_no_connection_arrives(sandbox: Sandbox, listener: socket.socket, function: str) -> None:
    problem = sandbox.problem(function, address=listener.getsockname())
    assert "Network is unreachable" in problem + sandbox.log.read_text()
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("function", ["connect_natively", "connect_by_child"])
def test_an_action_that_requires_the_network_has_it(sandbox: Sandbox, listener: socket.socket, function: str) -> None:
    assert sandbox.text(sandbox.run(function, address=listener.getsockname(), requires={"network": ""})) == "connected"
    listener.accept()


def test_what_a_child_did_not_find_is_named_with_what_to_add(sandbox: Sandbox) -> None:
    sandbox.write("models/x/data/labels.txt")
    sandbox.write("build/models/y/net.onnx")
    advice = "reads models/x/data/labels.txt, which is not among its declared inputs: add 'data/labels.txt' to srcs"
    for path in ("models/x/data/labels.txt", sandbox.root / "models/x/data/labels.txt"):
        assert sandbox.problem("shell_or_fail", command=f"cat {path}").splitlines()[-1] == advice
    problem = sandbox.problem("shell_or_fail", command="cat build/models/y/net.onnx models/x/nowhere.txt models/x/misdeeds.py")
    assert problem.splitlines()[-1] == (
        "reads build/models/y/net.onnx, which is not among its declared inputs: name the target that makes it in an attribute"
    )
    assert "declared inputs" not in sandbox.problem("shell_or_fail", command="cat models/x/nowhere.txt")


def test_a_hard_link_to_an_input_cannot_be_made(sandbox: Sandbox) -> None:
    file = sandbox.write("models/x/labels.txt")
    assert "cross-device link" in attempt(sandbox, file, "link_natively", inputs={"in": "labels.txt"})[0]


def test_a_process_is_ended_in_a_namespace_as_well(sandbox: Sandbox) -> None:
    assert sandbox.problem("die", signal="SIGKILL") == "its process was killed by SIGKILL; was the machine out of memory?"
    assert sandbox.text(sandbox.run("leave_children")) == "done"


def test_a_user_without_privileges_has_it_too() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; every other test here ran as one without privileges")
    read, write = os.pipe()
    with tempfile.TemporaryDirectory() as hidden:
        os.chmod(hidden, 0o755)
        Path(hidden, "file").touch()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # for its files in /proc to be its own again
                why = unavailable([hidden], [])
                if not why:
                    prepare(network=False)
                    close_off()
                    enter([hidden], {}, [])
                os.write(write, (why or f"{os.geteuid()} {os.listdir(hidden)}").encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    os.close(write)
    with open(read) as told:
        answer = told.read()
    if "Operation not permitted" in answer or "No space left" in answer:
        pytest.skip(f"no user namespaces here: {answer}")
    assert answer == "65534 []"
