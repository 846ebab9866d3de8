"""The real apt, over an archive in a folder: no network is asked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from debs import control_of, make_archive, make_deb
from enginewright.debian.apt import Apt
from enginewright.debian.pins import Package
from enginewright.errors import ActionError
from enginewright.graph.action import APT_SOURCES


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if shutil.which("apt-get") is None:
        pytest.fail("apt-get is not installed") if os.environ.get("CI") else pytest.skip("apt-get is not installed")
    place = tmp_path / "archive"
    place.mkdir()
    made = [("app", "2.0", "libapp, configurator"), ("libapp", "1:1.5-1", ""), ("configurator", "1.0", "shell"), ("shell", "1.0", "")]
    debs = [
        (make_deb(place, name, version=version, depends=needs), control_of(name, version, "all", needs)) for name, version, needs in made
    ]
    monkeypatch.setenv(APT_SOURCES, str(make_archive(place, *debs)))
    return place


def apt(tmp_path: Path, *omitted: str) -> Apt:
    made = Apt(tmp_path / f"apt{len(list(tmp_path.iterdir()))}", "amd64", omitted)
    made.update()
    return made


def test_packages_are_resolved_as_on_nothing_and_fetched(archive: Path, tmp_path: Path) -> None:
    asked = apt(tmp_path)
    found = asked.resolve(["app"])
    assert {(each.name, each.version, each.architecture) for each in found} == {
        ("app", "2.0", "all"), ("libapp", "1:1.5-1", "all"), ("configurator", "1.0", "all"), ("shell", "1.0", "all"),
    }  # fmt: skip
    (tmp_path / "out").mkdir()
    asked.download(found, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in archive.glob("*.deb")}


def test_what_is_omitted_takes_along_what_only_it_needs(archive: Path, tmp_path: Path) -> None:
    assert {each.name for each in apt(tmp_path, "configurator").resolve(["app"])} == {"app", "libapp"}


def test_a_pinned_version_that_has_vanished(archive: Path, tmp_path: Path) -> None:
    gone = [Package("app", "1.9", "all", "0" * 64), Package("never", "1.0", "all", "0" * 64), Package("shell", "1.0", "all", "0" * 64)]
    with pytest.raises(ActionError) as caught:
        apt(tmp_path).download(gone, tmp_path)
    assert str(caught.value).startswith(
        "the archives that apt uses here no longer have 2 of the pinned packages:\n"
        "  app 1.9 (there is 2.0)\n"
        "  never 1.0 (there is no other version either)\n"
        "Either pin what they have now, with `doit pin`"
    )


def test_other_bytes_under_a_pinned_version(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=rf"^shell_1\.0_all\.deb: its SHA-256 is not the pinned one\n  expected {'0' * 64}\n"):
        apt(tmp_path).download([Package("shell", "1.0", "all", "0" * 64)], tmp_path)


def test_a_package_that_there_is_not(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="apt-get install failed: Unable to locate package nothing-like-it"):
        apt(tmp_path).resolve(["nothing-like-it"])


def test_an_archive_that_is_not_there(archive: Path, tmp_path: Path) -> None:
    for path in archive.glob("Packages"):
        path.unlink()
    with pytest.raises(ActionError, match="no longer have 1 of the pinned packages"):
        apt(tmp_path).download([Package("shell", "1.0", "all", "0" * 64)], tmp_path)
