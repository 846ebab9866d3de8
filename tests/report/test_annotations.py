"""Annotations as GitHub and GitLab want them."""

from __future__ import annotations

import json

import pytest

from enginewright.report.annotations import Annotation, place, render

FAILED = Annotation("models/x,y/net.py", 12, "models/x:onnx failed", "50% of it:\nValueError: no\r\n")


def test_commands_of_github() -> None:
    assert render([FAILED, FAILED], "github") == 2 * (
        "::error file=models/x%2Cy/net.py,line=12,title=models/x%3Aonnx failed::50%25 of it:%0AValueError: no%0D%0A\n"
    )
    assert render([], "github") == ""


def test_a_code_quality_report_of_gitlab() -> None:
    assert json.loads(render([], "gitlab")) == []
    moved = FAILED._replace(line=99)
    one, other, third = json.loads(render([FAILED, moved, FAILED._replace(message="else")], "gitlab"))
    assert one["location"] == {"path": "models/x,y/net.py", "lines": {"begin": 12}}
    assert one["description"] == "models/x:onnx failed: 50% of it:\nValueError: no\r\n"
    assert one.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
    assert one["fingerprint"] == other["fingerprint"] != third["fingerprint"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no place at all", ("BUILD.py", 3)),
        ("build() failed:\n  models/x/net.py:4, in build: f()\n  models/x/net.py:9, in f: no", ("models/x/net.py", 9)),
        ("models/x/net.py:4: bad\n  other/lib.py:9: not of the workspace", ("models/x/net.py", 4)),
        ("at 12:30 something:5", ("BUILD.py", 3)),
    ],
)
def test_the_place_is_where_the_users_own_code_failed(text: str, expected: tuple[str, int]) -> None:
    assert place(text, "BUILD.py", 3, lambda path: path.startswith("models/")) == expected
