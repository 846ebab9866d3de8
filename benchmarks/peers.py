"""One graph for every tool: each function here writes it as one tool's project, and says how that tool builds it.

A model is a weights file and a source; an ONNX file is made of the weights, three engines of that, an image of these. Each
of the five actions writes its own name and the bytes of its inputs, and depends on the source too.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from measure import Run, run

ENGINES = ("engine_sm_80", "engine_sm_89", "engine_sm_120")
STEPS: Mapping[str, Sequence[str]] = {"onnx": ("weights",), **{name: ("onnx",) for name in ENGINES}, "image": ENGINES}
"""The actions of a model, by name, and what each reads: its output, its inputs and the model's source lie in one folder."""

LEVELS = (("onnx",), ENGINES, ("image",))
"""The same by depth: all of a level can run at once."""


class Step(NamedTuple):
    """An action of one model. Paths are relative to the project."""

    model: str
    name: str
    inputs: Sequence[str]
    source: str
    output: str

    @property
    def command(self) -> str:
        """The action, as a shell runs it."""
        return f"{{ echo {self.name}; cat {' '.join(self.inputs)}; }} > {self.output}"


def steps(models: Sequence[str]) -> list[Step]:
    """All actions, each after those it needs."""
    return [
        Step(model, name, [f"{model}/{each}" for each in inputs], f"{model}/net.py", f"{model}/{name}")
        for model in models
        for name, inputs in STEPS.items()
    ]


@dataclass(frozen=True)
class Project:
    """One tool's copy of the graph.

    ``command`` brings everything up to date; ``change`` does so when only the weights of the first model were changed, and
    ``restore`` when outputs were deleted, for a tool that keeps copies of them (``keep`` builds and keeps them, where ``command``
    does not). ``clean`` and the removal of ``state`` make the tool forget that it has built anything; ``stop`` ends what it leaves
    running.
    """

    tool: str
    root: Path
    models: Sequence[str]
    command: Sequence[str]
    outputs: Sequence[Path]
    change: Sequence[str] = ()
    restore: Sequence[str] = ()
    keep: Sequence[str] = ()
    clean: Sequence[str] = ()
    state: Sequence[str] = ()
    stop: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, command: Sequence[str]) -> Run:
        """Run one of the commands, in an environment that is the same for every tool."""
        return run(command, self.root, {"PATH": os.environ["PATH"], "HOME": str(self.root), "LC_ALL": "C.UTF-8", **self.env})

    def reset(self) -> None:
        """Forget everything that was built.

        It is put aside, not deleted: for some seconds after many deletions, ext4 takes a millisecond to create a file.
        """
        if self.clean:
            self.run(self.clean)
        aside = Path(tempfile.mkdtemp(prefix="aside-", dir=self.root.parent))
        for number, path in enumerate([*self.outputs, *(self.root / name for name in self.state)]):
            if os.path.lexists(path):
                path.rename(aside / str(number))

    def delete_outputs(self) -> None:
        """Delete every output, and nothing else."""
        for path in self.outputs:
            path.unlink(missing_ok=True)

    def write_weights(self, model: str, content: str) -> None:
        """Change the weights of one model."""
        (self.root / model / "weights").write_text(content + "\n", encoding="utf-8")


def shell(root: Path, models: Sequence[str], jobs: int) -> Project:
    """No tool: shells that run the commands, ``jobs`` at a time. What a tool takes beyond that is its overhead."""
    every = steps(models)
    lines = []
    for level in LEVELS:
        commands = [step.command for step in every if step.name in level]
        for i in range(jobs):
            script = f"{level[0]}.{i}.sh"
            (root / script).write_text("\n".join(commands[i::jobs]) + "\n", encoding="utf-8")
            lines.append(f"sh {script} &")
        lines.append("wait")
    (root / "build.sh").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "change.sh").write_text("\n".join(step.command for step in every[: len(STEPS)]) + "\n", encoding="utf-8")
    return Project("shell", root, models, ("sh", "build.sh"), _in_place(root, every), change=("sh", "change.sh"))


def make(root: Path, models: Sequence[str], jobs: int) -> Project:
    """One Makefile, without make's built-in rules, which cost it time."""
    every = steps(models)
    rules = [f"{step.output}: {' '.join(step.inputs)} {step.source}\n\t@{step.command}\n" for step in every]
    lines = ["MAKEFLAGS += -rR", ".PHONY: all", f"all: {' '.join(step.output for step in every)}", *rules]
    (root / "Makefile").write_text("\n".join(lines), encoding="utf-8")
    return Project("make", root, models, ("make", f"-j{jobs}"), _in_place(root, every))


def ninja(root: Path, models: Sequence[str], jobs: int) -> Project:
    """One build.ninja."""
    every = steps(models)
    builds = [f"build {step.output}: cat {' '.join(step.inputs)} | {step.source}\n  name = {step.name}\n" for step in every]
    lines = ["rule cat", "  command = { echo $name; cat $in; } > $out", *builds]
    (root / "build.ninja").write_text("\n".join(lines), encoding="utf-8")
    return Project("ninja", root, models, ("ninja", f"-j{jobs}"), _in_place(root, every), state=(".ninja_log", ".ninja_deps"))


def doit(root: Path, models: Sequence[str], jobs: int) -> Project:
    """One dodo.py, without Enginewright. Of doit's databases and ways to run in parallel, the fastest."""
    dodo = f"""
DOIT_CONFIG = {{"backend": "json", "dep_file": "doit.json", "par_type": "thread", "verbosity": 0}}

def task_model():
    for model in {list(models)!r}:
        for name, reads in {dict(STEPS)!r}.items():
            inputs, output = [f"{{model}}/{{each}}" for each in reads], f"{{model}}/{{name}}"
            command = f"{{{{ echo {{name}}; cat {{' '.join(inputs)}}; }}}} > {{output}}"
            yield {{"name": output, "actions": [command], "file_dep": [*inputs, f"{{model}}/net.py"], "targets": [output]}}
"""
    (root / "dodo.py").write_text(dodo, encoding="utf-8")
    return Project("doit", root, models, (_doit(), "-n", str(jobs)), _in_place(root, steps(models)), state=("doit.json",))


def scons(root: Path, models: Sequence[str], jobs: int) -> Project:
    """One SConstruct, which looks for no compilers."""
    construct = f"""
DefaultEnvironment(tools=[])
env = Environment(tools=[])
for model in {list(models)!r}:
    for name, reads in {dict(STEPS)!r}.items():
        inputs, output = [f"{{model}}/{{each}}" for each in reads], f"{{model}}/{{name}}"
        env.Command(output, inputs, f"{{{{ echo {{name}}; cat {{' '.join(inputs)}}; }}}} > {{output}}")
        env.Depends(output, f"{{model}}/net.py")
"""
    (root / "SConstruct").write_text(construct, encoding="utf-8")
    return Project("scons", root, models, ("scons", "-Q", "-s", f"-j{jobs}"), _in_place(root, steps(models)), state=(".sconsign.dblite",))


def bazel(root: Path, models: Sequence[str], jobs: int) -> Project:
    """A package a model, and a server that stays up. The actions run without Bazel's sandbox, which would cost it more."""
    (root / "WORKSPACE").touch()
    (root / "BUILD").touch()
    rule = """
def _cat(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.run_shell(
        inputs = ctx.files.inputs + [ctx.file.source],
        outputs = [out],
        command = "{ echo %s; cat %s; } > %s" % (ctx.label.name, " ".join([each.path for each in ctx.files.inputs]), out.path),
    )
    return [DefaultInfo(files = depset([out]))]

cat = rule(_cat, attrs = {
    "inputs": attr.label_list(allow_files = True),
    "source": attr.label(allow_single_file = True),
})
"""
    (root / "cat.bzl").write_text(rule, encoding="utf-8")
    calls = [f"cat(name = {name!r}, inputs = {list(reads)!r}, source = 'net.py')" for name, reads in STEPS.items()]
    for model in models:
        (root / model / "BUILD").write_text("\n".join(["load('//:cat.bzl', 'cat')", *calls, ""]), encoding="utf-8")
    # Debian's Bazel is not the self-extracting program that others are; its files are installed.
    start: tuple[str, ...] = ("bazel", "--nohome_rc", "--nosystem_rc", "--max_idle_secs=7200", f"--output_user_root={root}.bazel")
    if Path("/usr/share/bazel/A-server.jar").exists():
        start += ("--install_base=/usr/share/bazel", "--trust_install_base")
    command = (*start, "build", f"--jobs={jobs}", "--spawn_strategy=local", "--noshow_progress", "--show_result=0", "//...")
    outputs = [root / "bazel-bin" / step.output for step in steps(models)]
    cached = (*command, f"--disk_cache={root}.cache")
    clean, stop = (*start, "clean"), (*start, "shutdown")
    return Project("bazel", root, models, command, outputs, restore=cached, keep=cached, clean=clean, stop=stop)


def dvc(root: Path, models: Sequence[str], jobs: int) -> Project:
    """One dvc.yaml (JSON is YAML); DVC runs one stage at a time."""
    every = steps(models)
    stages = {
        step.output.replace("/", "-"): {"cmd": step.command, "deps": [*step.inputs, step.source], "outs": [step.output]} for step in every
    }
    (root / "dvc.yaml").write_text(json.dumps({"stages": stages}), encoding="utf-8")
    command = ("dvc", "repro")
    env = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": f"{root}/.dvc/site"}
    state = ("dvc.lock", ".dvc/cache", ".dvc/tmp", ".dvc/site")
    project = Project("dvc", root, models, command, _in_place(root, every), restore=("dvc", "checkout"), state=state, env=env)
    project.run(("dvc", "init", "--no-scm", "--quiet"))
    project.run(("dvc", "config", "core.check_update", "false"))
    return project


def enginewright(root: Path, models: Sequence[str], jobs: int, sandbox: str = "") -> Project:
    """A package a model; each action is a Python function, in the best sandbox there is, or the one that is named."""
    settings = '[tool.doit]\nloader = "enginewright"\n\n[tool.enginewright]\nstore = "store"\n'
    (root / "pyproject.toml").write_text(settings, encoding="utf-8")
    (root / "dodo.py").touch()
    net = """
def cat(inputs, outputs, params):
    with open(outputs["out"], "wb") as out:
        out.write(f"{params['step']}\\n".encode())
        for path in inputs.values():
            out.write(path.read_bytes())
"""
    calls = []
    for name, reads in STEPS.items():
        inputs = {each: each if each == "weights" else f":{each}" for each in reads}
        attributes = f"inputs={inputs!r}, outputs={{'out': 'out'}}, params={{'step': {name!r}}}"
        calls.append(f"python_action(name={name!r}, function='net.py:cat', {attributes})")
    for model in models:
        (root / model / "BUILD.py").write_text("\n".join(["from enginewright import python_action", "", *calls, ""]), encoding="utf-8")
        (root / model / "net.py").write_text(net, encoding="utf-8")
    command = (_doit(), "build", "-n", str(jobs))
    outputs = [root / "build" / step.output / "out" for step in steps(models)]
    env = {"ENGINEWRIGHT_SANDBOX": sandbox} if sandbox else {}
    return Project("enginewright", root, models, command, outputs, restore=command, state=("build", "store"), env=env)


def _doit() -> str:
    return str(Path(sys.executable).with_name("doit"))


def _in_place(root: Path, every: Sequence[Step]) -> list[Path]:
    return [root / step.output for step in every]
