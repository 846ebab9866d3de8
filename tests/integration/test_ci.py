"""The recipes for continuous integration: linted, and run on some commits, each in a fresh clone with the store of the last run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import enginewright
from throwaway import DOIT, PYPROJECT
from tiny import NET, save_weights

CI = Path(__file__).parents[2] / "ci"
SCHEMAS = {"github-actions.yml": ["vendor.github-workflows"], "gitlab-ci.yml": ["vendor.gitlab-ci", "--data-transform", "gitlab-ci"]}

MODEL = """
from enginewright import checkpoint, fp16, onnx_model, tensor, tensorrt_engine

checkpoint(name="weights", src="net.pth")
onnx_model(name="onnx", checkpoint=":weights", inputs={"x": tensor("float32", ("batch", 64))}, outputs=["y"], dims={"batch": (1, 4, 16)})
fp16(name="half", model=":onnx")
tensorrt_engine(name="engine", model=":half", archs=["sm_80", "sm_120"])
"""
IMAGE = """
from enginewright import model_image

model_image(name="image", engines="models/{0}:engine")
"""
MODELS = ("one", "two")
CHAIN = {"models/{}:weights", "models/{}:onnx", "models/{}:half", "models/{}:engine_sm_80", "models/{}:engine_sm_120"}
IMAGED = {"layer_sm_80", "layer_sm_120", "manifest", "layer_manifest"}


def chain(model: str) -> set[str]:
    """All actions of a model, from its checkpoint to its image."""
    made = {label.format(model) for label in CHAIN}
    return made | {f"images/{model}:image.{part}" for part in IMAGED} | {f"images/{model}:image"}


@pytest.mark.parametrize("recipe", SCHEMAS)
def test_the_recipes_are_what_their_services_take(recipe: str) -> None:
    asked = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", *SCHEMAS[recipe], CI / recipe]
    subprocess.run(asked, check=True)


def test_a_recipe_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    wrong = (CI / "gitlab-ci.yml").read_text().replace("  timeout: 2h\n", "  timeout: [2]\n")
    (tmp_path / "wrong.yml").write_text(wrong)
    asked = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", *SCHEMAS["gitlab-ci.yml"], tmp_path / "wrong.yml"]
    assert subprocess.run(asked, capture_output=True).returncode == 1


def jobs(recipe: str) -> Mapping[str, Any]:
    content = yaml.safe_load((CI / recipe).read_text())
    return dict(content.get("jobs", content))


def test_both_recipes_build_the_same() -> None:
    github, gitlab = jobs("github-actions.yml"), jobs("gitlab-ci.yml")
    matrix = {each["family"]: each["query"] for each in github["engines"]["strategy"]["matrix"]["include"]}
    assert matrix == {each["FAMILY"]: each["QUERY"] for each in gitlab["engines"]["parallel"]["matrix"]}
    assert matrix.keys() == {"turing", "ampere"}
    # Images are put together out of what every other job has built, so that nothing is built twice; GitLab lets a job have four caches.
    wanted = {f"store-{name}" for name in (*matrix, "hopper", "images")}
    restored = [step["with"]["key"] for step in github["images"]["steps"] if "actions/cache" in step.get("uses", "")]
    assert {key.removesuffix("-${{ github.sha }}") for key in restored} == wanted
    assert {cache["key"] for cache in gitlab["images"]["cache"]} == wanted and len(wanted) <= 4
    for job in ("hopper", "images"):
        steps = [step["run"] for step in github[job]["steps"] if "ci/build.sh" in step.get("run", "")]
        assert steps == [line for line in gitlab[job]["script"] if "ci/build.sh" in line]


class Service:
    """What a service does for the recipe of GitHub: a clone of a commit, the stores it kept of each job, and the job's own steps.

    Left out is what takes minutes and is not ours: the actions of others, whose part the clone and the copies play, and the set-up of a
    virtual environment, in whose place is the one these tests run in, with Enginewright's own code as the commit has it.
    """

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "repository"
        self._folder = folder
        self._stores = folder / "stores"
        self._saved: list[str] = []
        self._runs = 0

    def run(self, job: str, commit: str, matrix: Mapping[str, str] | None = None, code: int = 0) -> tuple[Path, str]:
        """Run a job of the recipe on a commit: the clone that it ran in, and what it printed."""
        recipe = yaml.safe_load((CI / "github-actions.yml").read_text())
        self._runs += 1
        clone = self._folder / f"run{self._runs}"
        subprocess.run(["git", "clone", "-q", self.repository, clone], check=True)
        subprocess.run(["git", "checkout", "-q", commit], cwd=clone, check=True)
        values = {"github.sha": commit, "github.workspace": str(clone), "vars.ENGINEWRIGHT_REMOTE_CACHE": ""}
        values["secrets.ENGINEWRIGHT_REMOTE_TOKEN"] = ""
        values |= {f"matrix.{name}": value for name, value in (matrix or {}).items()}

        def filled(text: str) -> str:
            return re.sub(r"\$\{\{ *(.*?) *\}\}", lambda match: values[match[1]], text)

        environment = {name: filled(value) for name, value in recipe["env"].items()}
        environment = {**os.environ, **environment, "PYTHONPATH": str(clone / "rules"), "DOIT": str(DOIT)}
        said = ""
        for step in recipe["jobs"][job]["steps"]:
            if step.get("uses", "").startswith(("actions/cache@", "actions/cache/restore@")):
                options = {name: filled(value) for name, value in step["with"].items()}
                self._restore(clone / options["path"], options["key"], options.get("restore-keys", ""))
            elif "run" in step and step["run"] != "make .venv/ready":
                done = subprocess.run(
                    ["bash", "-e", "-c", filled(step["run"])], cwd=clone, env=environment, text=True, capture_output=True
                )  # fmt: skip
                assert done.returncode == code, done.stdout + done.stderr
                said += done.stdout
        for step in recipe["jobs"][job]["steps"]:
            if step.get("uses", "").startswith("actions/cache@"):  # which saves at the end
                self._saved.append(filled(step["with"]["key"]))
                shutil.copytree(clone / ".store", self._stores / self._saved[-1])
        return clone, said

    def _restore(self, to: Path, key: str, prefix: str) -> None:
        """As the cache of GitHub Actions does: the exact key, or else the latest that begins with one of the others."""
        latest = [name for name in self._saved if prefix and name.startswith(prefix)][-1:]
        for name in [key] if key in self._saved else latest:
            shutil.copytree(self._stores / name, to, dirs_exist_ok=True)

    def commit(self, message: str) -> str:
        """Commit all there is, and return its id."""
        git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
        for arguments in (["add", "-A"], ["commit", "-q", "-m", message]):
            subprocess.run([*git, *arguments], cwd=self.repository, check=True)
        shown = subprocess.run(["git", "rev-parse", "HEAD"], cwd=self.repository, check=True, text=True, capture_output=True)
        return shown.stdout.strip()


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A repository with two small models and their images, this package's own source, and a page of documentation."""
    made = Service(tmp_path)
    root = made.repository
    package = Path(enginewright.__file__).parent
    shutil.copytree(package, root / "rules/enginewright", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CI, root / "ci")
    files = {"dodo.py": "", "pyproject.toml": PYPROJECT, ".gitignore": "/build/\n/.store/\n__pycache__/\n", "docs/use.md": "How to.\n"}
    for number, model in enumerate(MODELS):
        files |= {f"models/{model}/BUILD.py": MODEL, f"models/{model}/net.py": NET, f"images/{model}/BUILD.py": IMAGE.format(model)}
        (root / f"models/{model}").mkdir(parents=True)
        save_weights(root / f"models/{model}/net.pth", number)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=root, check=True)
    return made


def outcomes(clone: Path) -> tuple[set[str], set[str]]:
    """What was built and what was restored in a clone, by what its ledger says."""
    lines = (clone / "build/.enginewright/ledger.jsonl").read_text().splitlines()
    targets = {label: each["status"] for line in lines for label, each in json.loads(line)["targets"].items()}
    assert set(targets.values()) <= {"built", "cached"}
    built = {label for label, status in targets.items() if status == "built"}
    return built, targets.keys() - built


def test_a_commit_builds_what_it_changed(service: Service) -> None:
    everything = chain("one") | chain("two")
    first = service.commit("the start")
    (matrix,) = [each for each in jobs("github-actions.yml")["engines"]["strategy"]["matrix"]["include"] if each["family"] == "ampere"]
    clone, _ = service.run("engines", first, matrix)
    built, cached = outcomes(clone)
    ampere = {label.format(model) for model in MODELS for label in CHAIN if "sm_120" not in label}
    assert (built, cached) == (ampere, set())
    # The images are made of what the other job has built.
    clone, said = service.run("images", first)
    assert outcomes(clone) == (everything - ampere, ampere)
    assert (clone / "build/report.html").read_text().startswith("<!doctype html>")
    assert "::error" not in said
    image = (clone / "build/images/one/image/index.json").read_bytes()

    (service.repository / "docs/use.md").write_text("How to use it.\n")
    clone, _ = service.run("images", service.commit("docs only"))
    assert outcomes(clone) == (set(), everything)
    assert (clone / "build/images/one/image/index.json").read_bytes() == image

    save_weights(service.repository / "models/two/net.pth", 7)
    clone, _ = service.run("images", service.commit("one model's weights"))
    assert outcomes(clone) == (chain("two"), chain("one"))

    rule = service.repository / "rules/enginewright/rules/fp16.py"
    rule.write_text(rule.read_text() + "\n# A comment, which changes no bytes.\n")
    clone, _ = service.run("images", service.commit("a rule"))
    halves = {"models/one:half", "models/two:half"}
    assert outcomes(clone) == (halves, everything - halves)

    # What stands in the way of everything is said where people look, by the job that comes first.
    build = service.repository / "models/one/BUILD.py"
    declared = build.read_text()
    build.write_text(declared + "onnx_model(\n")
    _, said = service.run("engines", service.commit("no Python"), matrix, code=3)
    assert re.search("^::error file=models/one/BUILD.py,line=8,title=the workspace cannot be loaded::", said, re.MULTILINE)
    build.write_text(declared)

    net = service.repository / "models/one/net.py"
    net.write_text(net.read_text().replace("256, 8", "256, 9"))
    clone, said = service.run("images", service.commit("a mistake"), code=1)
    (line,) = [line for line in said.splitlines() if line.startswith("::error")]
    assert line.startswith("::error file=models/one/") and "title=models/one%3Aonnx failed" in line
