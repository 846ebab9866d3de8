"""One action on a worker, as the executor starts it: a folder, a command, an exit code, two texts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enginewright import python_action
from enginewright.execute.description import DESCRIPTION, FAILED, RECORD, REFUSED, describe, read_record
from enginewright.execute.installation import Installation
from enginewright.execute.platform import host_platform
from enginewright.graph.action import Artifact
from enginewright.graph.key import Material, material
from enginewright.graph.label import Label
from enginewright.graph.rule import Context
from enginewright.store.digest import file_digest

LABEL = Label("models/x", "t")
MAKE = """
import time

def copy(inputs, outputs, params):
    print("copying", *sorted(inputs))
    outputs["out"].write_text("".join(inputs[name].read_text() for name in sorted(inputs)))

def tree(inputs, outputs, params):
    (outputs["out"] / "below").mkdir(parents=True)
    (outputs["out"] / "below/it").write_text("it")
    (outputs["out"] / "tool").write_text("#!/bin/sh")
    (outputs["out"] / "tool").chmod(0o755)

def read(inputs, outputs, params):
    outputs["out"].write_text(open(params["path"]).read())

def fail(inputs, outputs, params):
    print("about to fail")
    raise ValueError("there is no such thing")

def sleep(inputs, outputs, params):
    print("asleep", flush=True)
    time.sleep(60)
"""


class Remote:
    """An input root as a worker lays it out, for functions of MAKE."""

    def __init__(self, root: Path, declare: Callable[..., Any]) -> None:
        self.root = root
        self.declare = declare

    def stage(self, function: str, tree: bool = False, changed: Callable[[Material], Material] = lambda it: it, **attributes: Any) -> None:
        for path, text in (("models/x/make.py", MAKE), ("models/x/in.txt", "in")):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)
        rule = self.declare(
            python_action, name="t", function=f"make.py:{function}", inputs={"in": "in.txt"}, outputs={"out": "out"}, **attributes
        )
        action = rule.action(Context(LABEL, lambda label: {}))
        if tree:
            action = replace(action, outputs={"out": Artifact("build/models/x/t/out", tree=True)})
        installation = Installation()
        key = material(
            action,
            inputs={name: file_digest(self.root / artifact.path) for name, artifact in action.inputs.items()},
            code=installation.code(action.run.partition(":")[0]),
            toolchain=installation.toolchain(action.packages).versions,
            platform=host_platform(),
        )
        (self.root / DESCRIPTION).parent.mkdir(exist_ok=True)
        (self.root / DESCRIPTION).write_bytes(describe(LABEL, action, changed(key)))

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "enginewright.execute.run_action"],
            cwd=self.root, env={"PATH": os.environ["PATH"], **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, code: int = 0) -> tuple[str, str]:
        process = self.start()
        out, err = process.communicate()
        assert process.returncode == code, out + err
        assert "Traceback" not in err
        assert sorted(path.name for path in (self.root / DESCRIPTION).parent.iterdir()) == sorted(
            ["action.json", *(["record.json"] if code == 0 else [])]
        )
        return out, err

    def refusal(self, **attributes: Any) -> str:
        self.stage("copy", **attributes)
        out, err = self.run(REFUSED)
        assert out == "" and not (self.root / "build").exists()
        return err


@pytest.fixture
def remote(tmp_path: Path, declare: Callable[..., Any]) -> Remote:
    return Remote(tmp_path, declare)


def test_outputs_and_the_record_are_written(remote: Remote) -> None:
    remote.stage("copy")
    assert remote.run() == ("copying in\n", "")
    assert (remote.root / "build/models/x/t/out").read_text() == "in"
    record = read_record((remote.root / RECORD).read_bytes())
    assert record.host and record.seconds > 0 and record.peak_rss > 1 << 20 and record.sandbox in ("namespace", "audit")


def test_a_folder_is_an_output(remote: Remote) -> None:
    remote.stage("tree", tree=True)
    remote.run()
    made = remote.root / "build/models/x/t/out"
    assert (made / "below/it").read_text() == "it" and os.access(made / "tool", os.X_OK) and not os.access(made / "below/it", os.X_OK)


def test_a_failure_has_its_reason_on_standard_error_and_leaves_no_output(remote: Remote) -> None:
    remote.stage("fail")
    out, err = remote.run(FAILED)
    assert out.startswith("about to fail") and "there is no such thing" in err and "models/x/make.py" in err
    assert not (remote.root / "build").exists()


def test_the_sandbox_is_the_same(remote: Remote) -> None:
    (remote.root / "secret").write_text("secret")
    remote.stage("read", params={"path": str(remote.root / "secret")})
    _, err = remote.run(FAILED)
    assert "reads secret, which is not among its declared inputs" in err


def test_another_version_is_refused_and_both_are_named(remote: Remote) -> None:
    there = Installation().toolchain(("xxhash",)).versions["xxhash"]
    said = remote.refusal(packages=("xxhash",), changed=lambda key: replace(key, toolchain={"xxhash": "0.1"}))
    assert f"xxhash is {there} there, and 0.1 in the key" in said


def test_a_distribution_that_is_not_there_is_named(remote: Remote) -> None:
    remote.stage("copy", packages=("xxhash",))
    path = remote.root / DESCRIPTION
    path.write_text(path.read_text().replace("xxhash", "nowhere"))
    assert "'nowhere' is not installed" in remote.run(REFUSED)[1]


def test_another_python_is_refused(remote: Remote) -> None:
    said = remote.refusal(changed=lambda key: replace(key, platform="linux-x86_64-cpython-3.9.1"))
    assert f"Python and platform is {host_platform()} there, and linux-x86_64-cpython-3.9.1 in the key" in said


def test_other_code_of_this_package_is_refused(remote: Remote) -> None:
    changed = {"enginewright.model.user_code": "0" * 32}
    said = remote.refusal(changed=lambda key: replace(key, code={**key.code, **changed}))
    assert "Enginewright's own code differs, in enginewright.model.user_code:" in said


def test_an_action_for_a_gpu_that_is_not_there_is_refused(remote: Remote) -> None:
    assert "needs a GPU of architecture sm_11" in remote.refusal(requires={"gpu": "sm_11"})


def test_an_input_with_other_bytes_fails(remote: Remote) -> None:
    remote.stage("copy")
    (remote.root / "models/x/in.txt").write_text("more")
    assert "models/x/in.txt arrived with other bytes" in remote.run(FAILED)[1]


def test_no_description(remote: Remote) -> None:
    remote.root.joinpath(DESCRIPTION).parent.mkdir()
    remote.root.joinpath(DESCRIPTION).write_text("nothing")
    assert "Expecting value" in remote.run(REFUSED)[1]


def test_what_is_stopped_has_shown_what_it_printed(remote: Remote) -> None:
    remote.stage("sleep")
    process = remote.start()
    assert process.stdout is not None and process.stdout.readline() == "asleep\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    until = time.monotonic() + 30
    while time.monotonic() < until and list(remote.root.joinpath(DESCRIPTION).parent.glob("tmp-*")):
        time.sleep(0.05)
    assert not list(remote.root.joinpath(DESCRIPTION).parent.glob("tmp-*"))
