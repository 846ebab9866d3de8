"""What `doit build` says of the sandbox, and what ENGINEWRIGHT_SANDBOX chooses."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import subprocess
from pathlib import Path

import pytest

from enginewright.execute.isolation import AUDIT, NAMESPACE, VARIABLE
from enginewright.execute.namespace import close_off, enter, prepare, unavailable
from throwaway import Workspace

A = "models/x:a"
LOG = "build/.enginewright/logs/models/x/a.log"


def recorded(workspace: Workspace) -> str:
    """What the record of the last run of models/x:a says of its sandbox."""
    return str(workspace.build(A).actions[A]["sandbox"])


def test_the_audit_hook_is_told_with_its_reason_and_recorded(workspace: Workspace) -> None:
    workspace.environment[VARIABLE] = AUDIT
    lines = workspace.doit("build", "-v", A).stdout.splitlines()
    assert lines[:3] == [f"sandbox: audit hook ({VARIABLE}=audit)", "        running  models/x:a  PythonAction", f"        log: {LOG}"]
    assert workspace.read(LOG) == "copying src\n"
    assert recorded(workspace) == AUDIT
    # Also when nothing runs.
    assert workspace.doit("build", "--verbose", A).stdout.startswith("sandbox: audit hook (")
    assert "sandbox" not in workspace.doit("build", A).stdout


def test_what_is_in_force_is_not_part_of_the_key(workspace: Workspace) -> None:
    workspace.environment[VARIABLE] = AUDIT
    workspace.build()
    del workspace.environment[VARIABLE]
    assert workspace.build().ran == set()


def test_what_it_may_be(workspace: Workspace) -> None:
    workspace.environment[VARIABLE] = "none"
    for command in ("build", "run"):
        workspace.doit(command, A, code=3 if command == "build" else 1)
    assert workspace.refuse("build") == f"{VARIABLE}=none: expected 'namespace' or 'audit'"
    assert workspace.files() == {}


class TestNamespace:
    @pytest.fixture(autouse=True)
    def namespaces(self, workspace: Workspace) -> None:
        workspace.environment.pop(VARIABLE, None)
        why = unavailable([str(workspace.root)], [])
        if why:
            pytest.skip(f"this machine has no namespaces for actions: {why}")

    def test_it_is_told_and_recorded(self, workspace: Workspace) -> None:
        assert workspace.doit("build", "-v", A).stdout.startswith("sandbox: mount and network namespace\n        running")
        assert recorded(workspace) == NAMESPACE

    def test_where_the_kernel_does_not_allow_it_the_audit_hook_is_used(self, workspace: Workspace) -> None:
        def deprive() -> None:
            # In such a namespace, without the capabilities that it takes, there can be no other.
            prepare(network=True)
            close_off()
            first = os.fork()
            if first:
                os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]))
            enter([], {}, [str(workspace.root.parent)])

        def doit(*arguments: str) -> subprocess.CompletedProcess[str]:
            process = workspace.start(*arguments, preexec_fn=deprive)
            out, err = process.communicate()
            return subprocess.CompletedProcess(arguments, process.returncode, out, err)

        workspace.environment[VARIABLE] = NAMESPACE
        forced = doit("build", A)
        assert (forced.returncode, forced.stdout) == (3, "")
        assert forced.stderr.startswith(f"ERROR: {VARIABLE}=namespace: this machine does not allow it (")
        assert workspace.files() == {}
        del workspace.environment[VARIABLE]
        done = doit("build", "-v", A)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("sandbox: audit hook (")
        assert recorded(workspace) == AUDIT


@pytest.mark.parametrize("sandbox", [AUDIT, ""])
def test_what_python_compiled_of_a_source_is_neither_read_nor_missed(workspace: Workspace, tmp_path: Path, sandbox: str) -> None:
    if sandbox:
        workspace.environment[VARIABLE] = sandbox
    source = workspace.root / "models/x/make.py"
    (tmp_path / "other.py").write_text("raise ImportError('this is not make.py')")
    compiled = importlib.util.cache_from_source(str(source))
    py_compile.compile(str(tmp_path / "other.py"), cfile=compiled, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert "models/x:a" in workspace.build("models/x").built
