from __future__ import annotations

import pytest

from enginewright.graph.attributes import AttributeProblem
from enginewright.model.architecture import ARCHITECTURES, resolve


@pytest.mark.parametrize(
    ("name", "archs"),
    [
        ("sm_80", ("sm_80",)),
        ("SM_80", ("sm_80",)),
        ("T4", ("sm_75",)),
        ("t4", ("sm_75",)),
        ("A100", ("sm_80",)),
        ("A10", ("sm_86",)),
        ("L4", ("sm_89",)),
        ("H100", ("sm_90",)),
        ("rtx 5090", ("sm_120",)),
        ("turing", ("sm_75",)),
        ("Ampere", ("sm_80", "sm_86")),
        ("ada", ("sm_89",)),
        ("hopper", ("sm_90",)),
        ("blackwell", ("sm_100", "sm_120")),
    ],
)
def test_names(name: str, archs: tuple[str, ...]) -> None:
    assert resolve([name], "archs") == archs
    assert set(archs) <= set(ARCHITECTURES)


def test_names_keep_their_order() -> None:
    assert resolve(["H100", "T4", "ampere"], "archs") == ("sm_90", "sm_75", "sm_80", "sm_86")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["sm_80", "sm_80"], "archs: 'sm_80' is listed twice: leave one out"),
        (["A10", "sm_86"], "archs: 'A10' and 'sm_86' both mean sm_86: leave one out"),
        (["ampere", "A100"], "archs: 'ampere' and 'A100' both mean sm_80: leave one out"),
        (["sm80"], "archs: 'sm80' is no architecture, GPU or family that is known (did you mean 'sm_80'?)"),
        (["Hoper"], "archs: 'Hoper' is no architecture, GPU or family that is known (did you mean 'hopper'?)"),
        (["voodoo"], "archs: 'voodoo' is no architecture, GPU or family that is known (there are: sm_75, sm_80, "),
    ],
)
def test_names_that_mean_nothing_or_the_same(names: list[str], problem: str) -> None:
    with pytest.raises(AttributeProblem) as caught:
        resolve(names, "archs")
    assert str(caught.value).startswith(problem)
