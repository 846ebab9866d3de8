"""The processes that actions run in.

``python -m enginewright.execute.worker SOCKET_FD`` is a fork server: it forks a child for each job that it is sent, until the
other end closes the socket. What it is to know beforehand it reads from standard input, as JSON: ``modules``, those that may be
imported; ``warm_up``, a function to call first, ``module:function`` or empty; ``namespace``, whether actions are kept in
namespaces, and ``network`` and ``gpu``, whether with the network, and with a GPU. What an action prints goes to standard output
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
import time
import traceback
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from enginewright.errors import FULL_DISK, ActionError
from enginewright.execute import namespace
from enginewright.execute.guard import Policy, Violation, hidden, hide_all_but, install, mode_below

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 10
"""What an action has to put away what it has outside its sandbox; a busy Docker takes some seconds to remove a container."""

_prctl = ctypes.CDLL(None).prctl


def main(arguments: list[str]) -> None:
    """Serve, in the first process of a namespace of processes if there is to be one: with it the kernel ends all in it."""
    requests = socket.socket(fileno=int(arguments[0]))
    told = json.load(sys.stdin)
    if told["namespace"]:
        namespace.prepare(told["network"])
        server = os.fork()
        if server:
            requests.close()
            signal.signal(signal.SIGTERM, lambda *_: os.kill(server, signal.SIGTERM))
            _end_like(os.waitpid(server, 0)[1])
        _die_with(0)  # as which a parent outside is seen
    warm_up(told["modules"], told["warm_up"])
    if told["namespace"]:
        namespace.close_off(told["gpu"])
    serve(requests)


def warm_up(modules: Collection[str], function: str) -> None:
    """Call a function, with nothing to import but ``modules``, and have what is there by then shared with all children."""
    if function:
        hide_all_but(frozenset(modules))
        module, _, name = function.partition(":")
        with suppress(Exception):  # an action that cannot do without what failed here says so itself
            getattr(importlib.import_module(module), name)()
    gc.collect()
    gc.freeze()  # a collection in a child need not touch, and so copy, what is shared


def serve(requests: socket.socket) -> None:
    """Fork a child for each request until the other end closes the socket; then kill what still runs. It does not return.

    A request is three descriptors: of the job, as JSON, for the reply, for the log. The child writes the reply, and the server,
    once the child is gone, its exit status, negative for a signal, on a line of its own.
    """
    children: dict[int, tuple[int, int]] = {}  # by process descriptor: process and reply descriptor

    def end(*_: object) -> None:
        # Of a build that ends there are two signs, this signal and the closed socket. The second must not disturb what goes on.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_all([process for process, _reply_to in children.values()])
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    try:
        _fork_for_each(requests, children)
    finally:
        # A build that was killed shows in many ways: nobody reads a reply, or the job cannot be read. The kernel kills the
        # children with this process, but not, without a namespace of processes, what they have started.
        end()


def _fork_for_each(requests: socket.socket, children: dict[int, tuple[int, int]]) -> None:
    server = os.getpid()
    with selectors.DefaultSelector() as ready:
        ready.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is requests:
                    message, descriptors, _, _ = socket.recv_fds(requests, 1, 3)
                    if not message:
                        return
                    job_from, reply_to, log = descriptors
                    with open(job_from, "rb") as file:
                        job = json.load(file)
                    # Whatever is done here is cheap: what a child touches first, the kernel has to copy.
                    with suppress(Exception):  # the rule's module, which imports little: the next child will have it
                        importlib.import_module(job["run"].partition(":")[0])
                    policy = _policy(job["policy"])
                    os.environ.update(HOME=job["home"], TMPDIR=job["tmp"])
                    process = os.fork()
                    if process == 0:
                        ready.close()
                        _run_forked(server, requests, reply_to, log, job, policy)
                    os.close(log)
                    watched = os.pidfd_open(process)
                    children[watched] = process, reply_to
                    ready.register(watched, selectors.EVENT_READ)
                else:
                    watched = key.fd
                    ready.unregister(watched)
                    process, reply_to = children.pop(watched)
                    _, status = os.waitpid(process, 0)
                    _kill_group(process)
                    _reap_orphans({each for each, _ in children.values()})
                    os.close(watched)
                    os.write(reply_to, f"\n{os.waitstatus_to_exitcode(status)}\n".encode())
                    os.close(reply_to)


def _run_forked(server: int, requests: socket.socket, reply_to: int, log: int, job: dict[str, Any], policy: Policy) -> None:
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
        tempfile.tempdir = None
        text = json.dumps(run(job, policy))
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the action may have put something else in its place
                stream.flush()
        with open(reply_to, "w", encoding="utf-8") as reply:
            reply.write(text)
        status = 0
    finally:
        os._exit(status)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, and end at once when it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _end_like(status: int) -> None:
    """End as another process did, whose wait status this is."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


def _end_all(leaders: Collection[int]) -> None:
    """End the processes of actions and all that these started.

    An action that has something outside its sandbox to put away, as a container, may catch SIGTERM, and has `_GRACE_SECONDS` for it.
    """
    for leader in leaders:
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    for leader in leaders:
        with suppress(ChildProcessError):
            while os.waitpid(leader, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
                time.sleep(0.01)
        _kill_group(leader)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _reap_orphans(children: Collection[int]) -> None:
    """Take note of the end of processes that fell to this one because it is the first of its namespace."""
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in children:
            os.waitpid(ended.si_pid, 0)


def _policy(given: dict[str, Any]) -> Policy:
    sets = {name: frozenset(given[name]) for name in ("declared", "modules")}
    return Policy(**{**given, **sets, "runtime": tuple(given["runtime"]), "sandbox": tuple(given["sandbox"])})


def run(job: dict[str, Any], policy: Policy) -> dict[str, Any]:
    """Run one job and reply: ``error`` (a text, or None) and ``peak_rss`` in bytes.

    The job holds ``run`` (``module:function``), ``inputs`` and ``outputs`` (names to paths below the sandbox's root),
    ``params``, ``home`` and ``tmp``, the folders of those names, ``environment``, variables of the caller's to set, ``policy``, the
    fields of ``policy``, and ``namespace``, the arguments of `enginewright.execute.namespace.enter`, or None in a server without
    namespaces.
    """
    try:
        workspace = _enter(job, policy)
    except OSError as problem:
        return {"error": f"its sandbox could not be made: {problem}", "peak_rss": 0}
    os.environ.update(job["environment"])
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
        if problem.__cause__ is not None:  # the reason has the user's own lines of it; the log has all
            traceback.print_exception(problem.__cause__)
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
