from __future__ import annotations

import pytest

from enginewright.execute.elsewhere import Choice, read_choice
from enginewright.graph.label import Label

BIG = Label("models/x", "big")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", "auto"),
        ("always", "always"),
        ("never,Make=always", "always"),
        ("never,Other=always", "never"),
        ("Make=always, models/x:big=never", "never"),
        ("//models/x:big=always", "always"),
        ("always,models/x:small=never", "always"),
    ],
)
def test_the_more_particular_goes_before(text: str, mode: str) -> None:
    assert read_choice(text).mode(BIG, "Make") == mode


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allways", "'allways' is none of auto, always, never (did you mean 'always'?)"),
        ("auto,Make=sometimes", "'sometimes' is none of auto, always, never"),
        ("=never", "'=never': expected a mnemonic or a label before the ="),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_choice(text)
    assert str(caught.value).startswith(message)


def test_nothing_said() -> None:
    assert Choice().mode(BIG, "Make") == "auto"
