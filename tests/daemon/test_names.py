from __future__ import annotations

import pytest

from enginewright.daemon.names import full_name


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("images/classifier:image", "images/classifier:image"),
        ("classifier", "classifier:latest"),
        ("ghcr.io/team/classifier", "ghcr.io/team/classifier:latest"),
        ("127.0.0.1:5000/team/classifier", "127.0.0.1:5000/team/classifier:latest"),
        ("127.0.0.1:5000/a_b/c--d:1.0-rc_1", "127.0.0.1:5000/a_b/c--d:1.0-rc_1"),
    ],
)
def test_names(text: str, full: str) -> None:
    assert full_name(text) == full


@pytest.mark.parametrize("text", ["", "Images:a", "a:", "a b", "a:b c", "a//b", "/a", "a/", "-a", "a@sha256:0", "a:" + "x" * 129])
def test_no_names(text: str) -> None:
    with pytest.raises(ValueError, match="is no name of an image in Docker"):
        full_name(text)
