"""The manifests that the documentation shows are ones that Kubernetes takes."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]


def manifest() -> Any:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/bundles.md").read_text(), re.DOTALL)
    return yaml.safe_load(text)


@pytest.mark.parametrize("version", ["1.31", "1.33", "1.35"])
def test_a_pod_with_a_model_image(version: str) -> None:
    kubernetes_validate.validate(manifest(), version, strict=True)


def test_the_schema_would_notice(version: str = "1.35") -> None:
    wrong = copy.deepcopy(manifest())
    wrong["spec"]["volumes"][0]["image"]["refrence"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):  # before there were volumes of images
        kubernetes_validate.validate(manifest(), "1.30", strict=True)
