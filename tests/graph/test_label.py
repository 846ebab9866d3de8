from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.graph.label import Label, is_name, is_package

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", fullmatch=True)
PACKAGES = st.from_regex(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", fullmatch=True).filter(is_package)


@given(PACKAGES, NAMES)
def test_every_label_is_read_back_from_its_text(package: str, name: str) -> None:
    label = Label(package, name)
    assert Label.parse(str(label)) == label
    assert Label.parse(f"//{label}", "models/other") == label
    assert Label.parse(f":{name}", package) == label


@given(st.text())
def test_any_text_is_a_label_that_writes_itself_or_a_value_error(text: str) -> None:
    try:
        label = Label.parse(text)
    except ValueError as error:
        assert str(error).startswith(f"{text!r} is not a label: ")
    else:
        assert str(label) == text.removeprefix("//")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("weights", "write 'package:name', or ':name' for a target of the same package"),
        ("", "write 'package:name', or ':name' for a target of the same package"),
        ("models/x:", "'' is not a target name"),
        ("models/x:a b", "'a b' is not a target name"),
        ("models/x:-a", "'-a' is not a target name"),
        ("models/x:a:b", "'a:b' is not a target name"),
        ("models/x:a\n", r"'a\n' is not a target name"),
        ("models/../x:a", "'models/../x' is not a package name"),
        ("/models/x:a", "'/models/x' is not a package name"),
        ("models//x:a", "'models//x' is not a package name"),
        ("models/x/:a", "'models/x/' is not a package name"),
        (".:a", "'.' is not a package name"),
        ("//:a", "'' is not a package name"),
        ("modèles/x:a", "'modèles/x' is not a package name"),
    ],
)
def test_a_text_that_is_no_label_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        Label.parse(text, "models/x")
    assert str(caught.value) == f"{text!r} is not a label: {why}"


def test_a_relative_label_needs_a_package_to_be_relative_to() -> None:
    with pytest.raises(ValueError, match="'' is not a package name"):
        Label.parse(":a")


def test_names_are_what_may_be_a_file_name_and_a_task_name() -> None:
    assert is_name("engine_sm_89") and is_name("a.b+c-d") and is_name("0")
    assert not is_name("a/b") and not is_name(".hidden") and not is_name("a=b")
