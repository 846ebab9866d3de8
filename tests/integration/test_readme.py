"""The README's lines on a model of one's own, followed to the letter."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from throwaway import DOIT, Workspace

HEADING = "## Your own model"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
FILE = re.compile(r"# (models/\S+)\n")


def blocks(readme: str) -> list[tuple[str, str]]:
    """The language and the text of each fenced block under the heading."""
    section = readme.partition(f"\n{HEADING}\n")[2]
    return BLOCK.findall(re.split(r"^## ", section, maxsplit=1, flags=re.M)[0])


@pytest.fixture
def workspace(checkout: Workspace, tmp_path: Path) -> Workspace:
    copy = checkout.clone(tmp_path / "workspace")
    copy.environment["PATH"] = f"{DOIT.parent}{os.pathsep}{copy.environment['PATH']}"
    return copy


def test_a_model_of_ones_own_is_built_as_the_readme_says(workspace: Workspace) -> None:
    followed = blocks(workspace.read("README.md"))
    assert {language for language, _ in followed} == {"python", "sh"}
    for language, text in followed:
        if language == "python":
            path = FILE.match(text)
            assert path, f"the block begins with no comment that names its file: {text.splitlines()[0]}"
            workspace.write({path[1]: text})
        else:
            done = subprocess.run(["bash", "-e", "-c", text], cwd=workspace.root, env=workspace.environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    engines = list(workspace.root.glob("build/models/mine/*.engine"))
    assert engines
    assert all(engine.read_bytes().startswith(b"vtrt") for engine in engines)
