from __future__ import annotations

import re

import pytest

from enginewright.execute.platform import gpus, unmet


def test_what_needs_nothing_can_run_anywhere() -> None:
    assert unmet({}) == ""
    assert unmet({"network": ""}) == unmet({"network": "yes"}) == ""


def test_the_gpus_of_this_machine_are_architectures_and_can_be_used() -> None:
    assert all(re.fullmatch(r"sm_\d+", arch) for arch in gpus())
    assert all(unmet({"gpu": arch}) == "" for arch in gpus())


def test_a_gpu_that_is_not_there_is_named_with_those_that_are() -> None:
    there = f"there are: {', '.join(gpus())}" if gpus() else "there is none"
    assert unmet({"network": "", "gpu": "sm_10"}) == f"needs a GPU of architecture sm_10, and {there} on this machine"


@pytest.mark.parametrize(("name", "value"), [("network", "lan"), ("disk", "64G"), ("GPU", "sm_80")])
def test_a_requirement_that_nobody_knows_is_not_met(name: str, value: str) -> None:
    assert unmet({name: value}) == f"has the execution requirement {name}={value!r}, which nothing here provides"


def test_more_than_the_machine_has_is_not_met() -> None:
    assert unmet({"memory": "1MB", "cpu": "1"}) == ""
    assert unmet({"memory": "1024TB"}).startswith("needs 1024TB of memory, and this machine has ")
    assert unmet({"cpu": "100000"}).startswith("needs 100000 processors, and this machine has ")


def test_a_program_that_is_not_installed_is_named() -> None:
    assert unmet({"programs": "sh"}) == ""
    assert unmet({"programs": "sh mmdoorstep"}) == "needs the program mmdoorstep, which is not installed here"
