from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.doit_plugin.units import read_age, read_size, show_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("12 B", 12),
        ("20GB", 20 * 10**9),
        ("20g", 20 * 10**9),
        ("20GiB", 20 << 30),
        ("1.5 TB", 1_500_000_000_000),
        ("0.5kib", 512),
        ("3m", 3_000_000),
        (" 1Pi ", 1 << 50),
    ],
)
def test_a_size_is_read(text: str, count: int) -> None:
    assert read_size(text) == count


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("90m", 5400), ("1.5h", 5400), ("30d", 30 * 86400), ("2 W", 14 * 86400)])
def test_an_age_is_read(text: str, seconds: float) -> None:
    assert read_age(text) == seconds


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e3", "20 G B", "20XB", "1,5GB", "nan", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size, such as 20GB"):
        read_size(text)


@pytest.mark.parametrize("text", ["30", "d", "-3d", "3 months"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an age, such as 30d"):
        read_age(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (1234, "1.23 kB"), (999_499, "999 kB"), (999_500, "1 MB")],
)
def test_a_size_is_shown(count: int, text: str) -> None:
    assert show_size(count) == text


@given(st.integers(0, 10**17))
def test_what_is_shown_can_be_read_and_is_about_the_same(count: int) -> None:
    shown = show_size(count).replace("bytes", "").replace("byte", "")
    assert abs(read_size(shown) - count) <= count * 0.005
