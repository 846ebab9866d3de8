from __future__ import annotations

import pytest

from enginewright.errors import ActionError
from enginewright.wheel.requirements import read_requirements
from enginewright.wheel.target import Target

A, B = "a" * 64, "b" * 64
MARKERS = Target("3.11", "manylinux_2_28_x86_64").markers()

GOOD = f"""
# by uv
--extra-index-url https://wheels.example/simple
Fast_API[all]==0.1.0 ; python_version >= "3.8" \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
colorama==0.4 ; sys_platform == "win32" --hash=sha256:{A}
numpy===2.0  # the one that works
    --hash=md5:0
"""


def test_pins_and_where_to_look() -> None:
    text = GOOD.replace("numpy===2.0  # the one that works\n", "numpy===2.0 \\\n").replace("md5:0", f"sha256:{B}")
    found = read_requirements(text, "requirements.txt", MARKERS)
    assert list(found.pins) == ["fast-api", "numpy"] and found.places == ("--extra-index-url https://wheels.example/simple",)
    first = found.pins["fast-api"]
    assert (first.version, first.digests, first.line) == ("0.1.0", {A, B}, 4)
    assert first.for_pip() == f"Fast_API[all]==0.1.0 --hash=sha256:{A} --hash=sha256:{B}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"numpy>=2 --hash=sha256:{A}", "r.txt:2: numpy>=2 is not pinned: write numpy==VERSION"),
        (f"numpy==2.* --hash=sha256:{A}", r"numpy==2\.\* is not pinned"),
        ("numpy==2.0", "r.txt:2: numpy==2.0 has no --hash=sha256"),
        (f"numpy==2.0 --hash=md5:{A}", "has no --hash=sha256"),
        (f"Scipy==1.0 --hash=sha256:{A}", "r.txt:2: scipy is pinned in line 1 already"),
        ("-r other.txt", "'-r other.txt' is not supported"),
        ("--no-binary :all:", "is not supported"),
        ("-e .", "is not supported"),
        (f"x @ git+https://h.example/x --hash=sha256:{A}", "only a file has a digest"),
        (f"./local.whl --hash=sha256:{A}", "r.txt:2: './local.whl' is not a requirement"),
    ],
)
def test_refused(line: str, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        read_requirements(f"scipy==1.0 --hash=sha256:{B}\n{line}\n", "r.txt", MARKERS)


def test_a_file_that_pins_nothing() -> None:
    with pytest.raises(ActionError, match=r"r\.txt pins nothing for this Python and platform"):
        read_requirements(f"a==1; python_version < '3' --hash=sha256:{A}\n# b==2\n", "r.txt", MARKERS)


@pytest.mark.parametrize(
    ("wheel", "accepted"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("a-1-cp311-cp311-manylinux_2_28_x86_64.whl", True),
        ("a-1-cp39-abi3-manylinux1_x86_64.whl", True),
        ("a-1-cp311-cp311-linux_x86_64.whl", True),
        ("a-1-cp311-cp311-manylinux_2_31_x86_64.whl", False),
        ("a-1-cp312-cp312-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp312-abi3-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp311-cp311-manylinux_2_28_aarch64.whl", False),
        ("a-1-cp311-cp311-win_amd64.whl", False),
    ],
)
def test_which_wheels_a_target_takes(wheel: str, accepted: bool) -> None:
    assert Target("3.11", "manylinux_2_28_x86_64").accepts(wheel) is accepted
