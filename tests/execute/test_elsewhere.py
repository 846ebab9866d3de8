from __future__ import annotations

import pytest

from enginewright.execute.elsewhere import Choice, read_choice
from enginewright.graph.action import Action
from enginewright.graph.dag import Target
from enginewright.graph.label import Label
from enginewright.graph.rule import Location

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
        ("allways", "there is no 'allways' (did you mean 'always'?)"),
        ("auto,Make=sometimes", "there is no 'sometimes' (there are: always, auto, never)"),
        ("=never", "'=never': expected a mnemonic or a label before the ="),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_choice(text)
    assert str(caught.value).startswith(message)


def test_nothing_said() -> None:
    assert Choice().mode(BIG, "Make") == "auto"


def test_what_no_worker_can_be_asked_for_is_given_to_none_by_itself() -> None:
    test = Action(mnemonic="ImageTest", run="m:f", inputs={}, outputs={}, requires={"network": "yes", "docker": "yes"})
    build = Action(mnemonic="Engine", run="m:f", inputs={}, outputs={}, requires={"gpu": "sm_90"})
    assert not read_choice("auto").wants(BIG, test, "needs Docker") and read_choice("ImageTest=always").wants(BIG, test, "needs Docker")
    assert read_choice("auto").wants(BIG, build, "needs a GPU") and not read_choice("auto").wants(BIG, build, "")


def test_exceptions_for_nothing_are_found() -> None:
    action = Action(mnemonic="OnnxExport", run="m:f", inputs={}, outputs={})
    where = Location("models/x/BUILD.py", 1)
    targets = [
        Target(BIG, "onnx_model", where, (), action, {}),
        Target(Label("models/x", "group"), "tensorrt_engine", where, (BIG,), None, {}),
    ]
    assert read_choice("OnnxExport=always,models/x:big=never").strangers(targets) == []
    assert read_choice("OnnxModel=always").strangers(targets) == ["no action is called 'OnnxModel' (there are: OnnxExport)"]
    assert read_choice("models/x:bigg=never").strangers(targets) == ["no action is called 'models/x:bigg' (did you mean 'models/x:big'?)"]
    assert read_choice("models/x:group=never").strangers(targets) != []
