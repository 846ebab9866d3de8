from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.debian.pins import Package, read_pins, write_pins
from enginewright.errors import ActionError

PACKAGES = st.builds(
    Package,
    st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,9}", fullmatch=True),
    st.from_regex(r"([0-9]:)?[0-9][A-Za-z0-9.+~-]{0,9}", fullmatch=True),
    st.sampled_from(["amd64", "arm64", "all"]),
    st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)


@given(st.lists(PACKAGES, unique_by=lambda each: each.name))
def test_what_is_written_is_read(packages: list[Package]) -> None:
    assert read_pins(write_pins(packages, ["a", "b"], "doit pin images/base:base"), "packages.pins") == sorted(packages)


def test_how_apt_knows_a_package() -> None:
    package = Package("zlib1g", "1:1.2.13.dfsg-1", "amd64", "0" * 64)
    assert (package.pin, package.file) == ("zlib1g:amd64=1:1.2.13.dfsg-1", "zlib1g_1%3a1.2.13.dfsg-1_amd64.deb")


@pytest.mark.parametrize("line", ["zlib1g", "zlib1g=1.0 amd64", "zlib1g=1.0 amd64 sha256:00", "Zlib=1.0 amd64 sha256:" + "0" * 64])
def test_a_line_that_pins_nothing(line: str) -> None:
    with pytest.raises(ActionError, match=r"^p\.pins:3: expected NAME=VERSION ARCHITECTURE sha256:DIGEST, got "):
        read_pins(f"# comment\n\n{line}\n", "p.pins")


def test_a_package_that_is_there_twice() -> None:
    line = f"a1=1.0 amd64 sha256:{'0' * 64}\n"
    with pytest.raises(ActionError, match=r"^p\.pins:2: a1 is there twice"):
        read_pins(line * 2, "p.pins")
