from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from enginewright.execute.platform import host_platform
from enginewright.execute.toolchain import toolchain

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution that has nothing but its records. The names must be new: the core remembers what it found."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, version: str = "1.0", requires: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in requires)]
        (info / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
        (info / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))

    return make


def test_a_toolchain_is_what_is_declared_and_all_it_requires(install: Install) -> None:
    install("tc-top", "1.2", ("tc-middle>=2", 'tc-windows; sys_platform == "win32"'), ("tc_top/__init__.py",))
    install("tc-middle", "2.0", ("TC_Bottom[fast]", "tc-missing"), ("tc_middle.py",))
    install("tc-bottom", "3.0", ('tc-fast; extra == "fast"', 'tc-slow; extra == "slow"', "tc-top"))
    install("tc-fast", "4.0", files=("tc_fast/core.py",))
    install("tc-slow", files=("tc_slow.py",))
    install("tc-windows", files=("tc_windows.py",))
    found = toolchain(("tc-top",))
    assert found.versions == {"tc-bottom": "3.0", "tc-fast": "4.0", "tc-middle": "2.0", "tc-top": "1.2"}
    assert list(found.versions) == sorted(found.versions)
    assert found.modules == {"tc_top", "tc_middle", "tc_fast"}


def test_the_order_and_the_spelling_of_what_is_declared_do_not_matter(install: Install) -> None:
    install("tc-one")
    install("tc-two")
    assert toolchain(("tc-one", "TC_Two")) == toolchain(("tc.two", "tc-one", "tc-one"))


def test_modules_are_the_top_level_names_that_are_installed(install: Install) -> None:
    install(
        "tc-files",
        files=(
            "tc_package/__init__.py",
            "tc_package/inner/deep.py",
            "tc_module.py",
            "tc_native.cpython-311-x86_64-linux-gnu.so",
            "tc_namespace/part/x.py",
            "tc_libs.libs/libx.so",
            "tc-files.pth",
            "../../../bin/tc_script",
            "tc_files-1.0.dist-info/METADATA",
        ),
    )
    assert toolchain(("tc-files",)).modules == {"tc_package", "tc_module", "tc_native", "tc_namespace"}


def test_a_distribution_without_records_installs_nothing_known(install: Install, tmp_path: Path) -> None:
    install("tc-bare", requires=("not a requirement !",))
    (tmp_path / "tc_bare-1.0.dist-info/RECORD").unlink()
    assert toolchain(("tc-bare",)).modules == frozenset()
    assert toolchain(("tc-bare",)).versions == {"tc-bare": "1.0"}


def test_no_packages_are_an_empty_toolchain() -> None:
    assert toolchain(()).versions == {}
    assert toolchain(()).modules == frozenset()


def test_numpy() -> None:
    found = toolchain(("numpy",))
    assert found.versions == {"numpy": metadata.version("numpy")}
    assert "numpy" in found.modules and "pytest" not in found.modules


def test_a_distribution_that_is_not_installed_is_named() -> None:
    with pytest.raises(LookupError) as caught:
        toolchain(("numpy", "tc-nowhere"))
    assert str(caught.value) == "the distribution 'tc-nowhere' is not installed here: pip install tc-nowhere"


def test_the_platform_names_the_system_the_processor_and_the_python() -> None:
    assert host_platform().startswith(f"{sys.platform}-")
    assert host_platform().endswith("-cpython-" + ".".join(map(str, sys.version_info[:3])))
