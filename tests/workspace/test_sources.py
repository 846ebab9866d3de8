from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from enginewright.graph.action import Artifact
from enginewright.workspace.sources import locate


def test_a_source_lies_in_the_workspace(tmp_path: Path) -> None:
    assert locate(tmp_path, Artifact("models/x/net.py")) == tmp_path / "models/x/net.py"
    assert locate(tmp_path, Artifact("build/models/x/t", tree=True)) == tmp_path / "build/models/x/t"


@pytest.mark.parametrize("name", ["hypothesis", "Hypothesis"])
def test_or_in_an_installed_distribution(tmp_path: Path, name: str) -> None:
    import hypothesis

    found = locate(tmp_path, Artifact("external/hypothesis/hypothesis/__init__.py", origin=f"dist://{name}/hypothesis/__init__.py"))
    assert found.samefile(hypothesis.__file__)


def test_a_distributions_own_records_are_sources_too(tmp_path: Path) -> None:
    record = f"hypothesis-{metadata.version('hypothesis')}.dist-info/METADATA"
    assert locate(tmp_path, Artifact("external/h", origin=f"dist://hypothesis/{record}")).is_file()


def test_a_file_that_a_distribution_does_not_have_is_looked_for_later(tmp_path: Path) -> None:
    assert not locate(tmp_path, Artifact("external/h", origin="dist://hypothesis/no/such/file")).exists()


def test_a_distribution_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(LookupError) as caught:
        locate(tmp_path, Artifact("external/no-such-model/w.pth", origin="dist://no-such-model/w.pth"))
    assert str(caught.value) == (
        "dist://no-such-model/w.pth: the distribution 'no-such-model' is not installed here: pip install no-such-model"
    )
