"""`doit push`: where images go."""

from __future__ import annotations

import pytest
from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.push import check_templates, destinations
from enginewright.graph.label import Label

APP, TOOL = Label("images/x", "app"), Label("images/x", "tool")


def test_package_and_name_stand_for_those_of_the_label() -> None:
    found = destinations([APP, TOOL], ["ghcr.io/team/{package}/{name}:1", "{name}"])
    assert [(label, str(to)) for label, to in found] == [
        (APP, "ghcr.io/team/images/x/app:1"),
        (TOOL, "ghcr.io/team/images/x/tool:1"),
        (APP, "docker.io/library/app"),
        (TOOL, "docker.io/library/tool"),
    ]


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("h:1/a", "--to h:1/a: images/x:app and images/x:tool would both be h:1/a: write {package} and {name}"),
        ("h:1/Team/{name}", "--to h:1/Team/{name}: 'h:1/Team/app' is not an image reference: 'Team/app' cannot be a repository"),
        ("h:1/{name}@sha256:" + "0" * 64, "an image is pushed to a tag"),
        ("h:1/{name}@md5:0", "after the @, expected sha256:"),
    ],
)
def test_where_nothing_can_go(template: str, problem: str) -> None:
    with pytest.raises(InvalidCommand) as caught:
        destinations([APP, TOOL], [template])
    assert problem in str(caught.value)


def test_other_words_in_braces() -> None:
    with pytest.raises(InvalidCommand, match=r"--to h:1/\{label\}: \{label\} stands for nothing; there are \{package\} and \{name\}"):
        check_templates(["h:1/{label}"])
