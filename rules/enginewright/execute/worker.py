"""The process an action runs in.

``python -m enginewright.execute.worker REPLY_FD PARENT JOB_FILE`` runs one job for the process with the number PARENT.
``... serve SOCKET_FD [MODULE:FUNCTION]`` is a fork server: it reads the modules it may import, as JSON, from standard input,
calls the function to warm up, and forks a child for each job that it is sent. What an action prints goes to standard output
and error, which are its log.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from enginewright.errors import FULL_DISK, ActionError
from enginewright.execute import namespace
from enginewright.execute.guard import Policy, Violation, hidden, hide_all_but, install, mode_below

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Run one job, or serve."""
    if arguments[0] == "serve":
        modules = frozenset(json.load(sys.stdin))
        serve(socket.socket(fileno=int(arguments[1])), modules, arguments[2] if len(arguments) > 2 else "")
    else:
        reply_to, parent, job_file = arguments
        _die_with(int(parent))
        _reply(int(reply_to), json.loads(Path(job_file).read_bytes()))


def serve(requests: socket.socket, modules: frozenset[str], warm_up: str) -> None:
    """Fork a child for each request until the other end closes the socket; then kill what still runs.

    A request is the path of a job file, with two descriptors: one for the reply, one for the log. The child writes the reply,
    and the server, once the child is gone, its exit status, negative for a signal, on a line of its own.
    """
    children: dict[int, tuple[int, int]] = {}  # by process descriptor: process and reply descriptor

    def end(*_: object) -> None:
        for process, _reply_to in children.values():
            _kill_group(process)
        os._exit(0)

    if warm_up:
        hide_all_but(modules)
        module, _, function = warm_up.partition(":")
        with suppress(Exception):  # an action that cannot do without what failed here says so itself
            getattr(importlib.import_module(module), function)()
    gc.collect()
    gc.freeze()  # a collection in a child need not touch, and so copy, what is shared
    signal.signal(signal.SIGTERM, end)
    try:
        _fork_for_each(requests, children)
    finally:
        # A build that was killed shows in many ways: nobody reads a reply, or the job file is gone. The kernel kills the
        # children with this process, but not what they have started.
        end()


def _fork_for_each(requests: socket.socket, children: dict[int, tuple[int, int]]) -> None:
    server = os.getpid()
    with selectors.DefaultSelector() as ready:
        ready.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is requests:
                    message, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, 2)
                    if not message:
                        return
                    reply_to, log = descriptors
                    job = json.loads(Path(os.fsdecode(message)).read_bytes())
                    with suppress(Exception):  # the rule's module, which imports little: the next child will have it
                        importlib.import_module(job["run"].partition(":")[0])
                    process = os.fork()
                    if process == 0:
                        ready.close()
                        _run_forked(server, requests, reply_to, log, job)
                    os.close(log)
                    watched = os.pidfd_open(process)
                    children[watched] = process, reply_to
                    ready.register(watched, selectors.EVENT_READ)
                else:
                    watched = key.fd
                    ready.unregister(watched)
                    process, reply_to = children[watched]
                    _, status = os.waitpid(process, 0)
                    _kill_group(process)
                    del children[watched]
                    os.close(watched)
                    os.write(reply_to, f"\n{os.waitstatus_to_exitcode(status)}\n".encode())
                    os.close(reply_to)


def _run_forked(server: int, requests: socket.socket, reply_to: int, log: int, job: dict[str, Any]) -> None:
    """What a child of the server does; it does not return."""
    status = 1
    try:
        _die_with(server)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
        requests.close()
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.close(log)
        _reply(reply_to, job)
        sys.stdout.flush()
        sys.stderr.flush()
        status = 0
    finally:
        os._exit(status)


def _reply(reply_to: int, job: dict[str, Any]) -> None:
    os.environ.update(HOME=job["home"], TMPDIR=job["tmp"])
    tempfile.tempdir = None
    text = json.dumps(run(job))
    with open(reply_to, "w", encoding="utf-8") as reply:
        reply.write(text)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, and end at once when it has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run one job and reply: ``error`` (a text, or None) and ``peak_rss`` in bytes.

    The job holds ``run`` (``module:function``), ``inputs`` and ``outputs`` (names to paths below the sandbox's root),
    ``params``, ``home`` and ``tmp``, the folders of those names, ``policy``, the fields of `Policy`, and ``namespace``, the
    arguments of `enginewright.execute.namespace.enter`, or None to do without.
    """
    given = job["policy"]
    sets = {name: frozenset(given[name]) for name in ("declared", "modules")}
    policy = Policy(**{**given, **sets, "runtime": tuple(given["runtime"]), "sandbox": tuple(given["sandbox"])})
    try:
        workspace = _enter(job, policy)
    except OSError as problem:
        return {"error": f"its sandbox could not be made: {problem}", "peak_rss": 0}
    root = Path(policy.root)
    violations = install(policy, workspace)
    error = None
    try:
        module, _, function = job["run"].partition(":")
        action = getattr(importlib.import_module(module), function)
        action(
            {name: root / path for name, path in job["inputs"].items()},
            {name: root / path for name, path in job["outputs"].items()},
            job["params"],
        )
    except (ActionError, Violation) as problem:
        error = str(problem) + _hint(problem, policy, workspace)
    except MemoryError:
        error = "ran out of memory"
    except BaseException as problem:  # SystemExit from user code is a failure too
        traceback.print_exc()
        error = _in_words(problem, policy) + _hint(problem, policy, workspace)
    usage = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"error": violations[0] if violations else error, "peak_rss": max(each.ru_maxrss for each in usage) * 1024}


def _enter(job: dict[str, Any], policy: Policy) -> int:
    """Go into the sandbox, and return a descriptor of the workspace's folder, whose path may be hidden there."""
    os.umask(0o022)
    os.chdir(policy.workspace)  # what hides the path leaves those where they are who are in it
    if job["namespace"] is not None:
        namespace.enter(**job["namespace"])
    workspace = os.open(".", os.O_PATH | os.O_DIRECTORY)
    os.chdir(policy.root)
    return workspace


def _in_words(problem: BaseException, policy: Policy) -> str:
    """An exception as one sentence, with the innermost line of a file of the workspace when there is one."""
    text = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
    for frame in reversed(traceback.extract_tb(problem.__traceback__)):
        if frame.filename.startswith(policy.root + "/"):
            return f"{os.path.relpath(frame.filename, policy.root)}:{frame.lineno}: {text}"
    return text


def _hint(problem: BaseException | None, policy: Policy, workspace: int) -> str:
    """What to do about a full disk, or about a module that was not found only because it is not declared."""
    while problem is not None:
        if isinstance(problem, OSError) and problem.errno in FULL_DISK:
            places = " or ".join(policy.sandbox)
            return f"\nit writes below {places}: make room there (in the store with `doit cache gc`), and build again"
        if isinstance(problem, ModuleNotFoundError) and problem.name:
            if source := _in_workspace(problem.name, policy, workspace):
                return f"\n{source} is there, but it is not among the action's declared inputs: add it to srcs"
            top = problem.name.partition(".")[0]
            if top not in policy.modules and hidden(top):
                return f"\n{top} is installed, but it is not in this action's toolchain: add its distribution to packages"
        problem = problem.__cause__ or problem.__context__
    return ""


def _in_workspace(module: str, policy: Policy, workspace: int) -> str:
    """The workspace's file that a module would be imported from, were it declared; empty when there is none."""
    path = module.replace(".", "/")
    for folder in sys.path:
        for name in (f"{path}.py", f"{path}/__init__.py"):
            inside = os.path.relpath(os.path.join(folder, name), policy.root)
            if not inside.startswith("..") and mode_below(workspace, inside):
                return inside
    return ""


if __name__ == "__main__":
    main(sys.argv[1:])
