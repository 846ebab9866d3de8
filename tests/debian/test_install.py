from __future__ import annotations

import pytest

from enginewright.debian.install import _reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("I: x\nUnmet dependencies:\n a : Depends: b but it is not installable\nE: broken", "a : Depends: b but it is not installable"),
        (
            "dpkg: error processing package a (--configure):\n installed a package post-installation script: exit status 1\nE: x failed",
            "dpkg: error processing package a (--configure): installed a package post-installation script: exit status 1",
        ),
        ("I: x\nE: setup failed: E: cannot write\nE: mmdebstrap failed to run", "setup failed: E: cannot write"),
        ("I: killed", "I: killed"),
        ("", "it said nothing"),
    ],
)  # fmt: skip
def test_the_reason_is_the_line_that_says_most(said: str, reason: str) -> None:
    assert _reason(said) == reason
