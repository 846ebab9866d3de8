"""The README's lines on a model of one's own, followed to the letter."""

from __future__ import annotations

import re
from pathlib import Path

from pages import blocks, follow
from throwaway import Workspace

HEADING = "## Your own model"


def test_a_model_of_ones_own_is_built_as_the_readme_says(checkout: Workspace, tmp_path: Path) -> None:
    workspace = checkout.clone(tmp_path / "workspace")
    section = workspace.read("README.md").partition(f"\n{HEADING}\n")[2]
    followed = blocks(re.split(r"^## ", section, maxsplit=1, flags=re.M)[0])
    assert {language for language, _ in followed} == {"python", "sh"}
    follow(workspace, followed)
    engines = list(workspace.root.glob("build/models/mine/*.engine"))
    assert engines
    assert all(engine.read_bytes().startswith(b"vtrt") for engine in engines)
