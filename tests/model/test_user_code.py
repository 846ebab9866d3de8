from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from enginewright.model.user_code import explain, load_function


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """What is said of a function f() that fails, in lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [])

    def fail(text: str) -> list[str]:
        source = tmp_path / "net.py"
        source.write_text(text)
        function = load_function(source, "f")
        with pytest.raises(Exception) as caught:
            function()
        return explain(caught.value, source, "f() failed").splitlines()

    return fail


def test_the_lines_of_the_user_and_the_reason(told: Callable[[str], list[str]]) -> None:
    assert told("def f():\n    return {}['key']\n") == ["f() failed:", "  net.py:2, in f: return {}['key']", "  KeyError: 'key'"]


def test_of_many_calls_the_first_and_the_last_are_shown(told: Callable[[str], list[str]]) -> None:
    lines = told("def f(n=100):\n    return f(n - 1) if n else 1 / 0\n")
    assert len(lines) == 23 and lines[11] == "  ... 81 calls more" and lines[-1] == "  ZeroDivisionError: division by zero"


def test_a_message_that_is_very_long_is_cut(told: Callable[[str], list[str]]) -> None:
    assert told("def f():\n    raise ValueError('y' * 10_000_000)\n")[-1].endswith("yyy... and 9996000 characters more")


def test_an_exception_that_has_no_message(told: Callable[[str], list[str]]) -> None:
    wrong = "class Wrong(Exception):\n    def __str__(self):\n        return 1 / 0\ndef f():\n    raise Wrong\n"
    assert told(wrong)[-1] == "  Wrong: it has no message: its __str__() fails"
