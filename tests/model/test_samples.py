from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enginewright.errors import ActionError
from enginewright.model.reference import Reference, read_reference, write_reference
from enginewright.model.samples import InputSpec, Sample, declared, drawn

IMAGE = InputSpec("image", "float32", ["batch", 3])
IDS, MASK = InputSpec("ids", "int64", ["batch", "length"]), InputSpec("mask", "bool", ["batch", "length"])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("data", None)


def shapes(samples: list[Sample]) -> list[dict[str, tuple[int, ...]]]:
    return [{name: array.shape for name, array in sample.items()} for sample in samples]


def generator(lines: str) -> tuple[Path, str]:
    Path("data.py").write_text(f"import numpy as np\ndef make(path=None):\n    {lines}\n")
    return Path("data.py").absolute(), "make"


def refusal(files: list[Path], function: tuple[Path, str] | None, *specs: InputSpec) -> str:
    with pytest.raises(ActionError) as caught:
        list(declared(files, function, specs))
    return str(caught.value)


def test_drawn_samples_have_the_smallest_and_the_most_usual_sizes() -> None:
    found = drawn([IDS, MASK], {"batch": (1, 4, 8), "length": (2, 16, 64)})
    assert shapes(found) == [{"ids": (1, 2), "mask": (1, 2)}, {"ids": (4, 16), "mask": (4, 16)}]
    assert found[1]["mask"].all() and set(np.unique(found[1]["ids"])) == {0, 1} and found[1]["ids"].dtype == np.int64
    assert len(drawn([IMAGE], {"batch": (2, 2, 8)})) == len(drawn([InputSpec("x", "uint8", [3])], {})) == 1


def test_drawn_samples_are_the_same_each_time_and_have_their_types_precision() -> None:
    (first, _), (again, _) = (drawn([IMAGE], {"batch": (1, 4, 8)}) for _ in range(2))
    assert np.array_equal(first["image"], again["image"]) and first["image"].dtype == np.float32
    for dtype, bits in (("float16", 13), ("bfloat16", 16)):
        (found,) = drawn([InputSpec("x", dtype, [64])], {})
        assert found["x"].dtype == np.float32 and found["x"].std() > 0.5
        assert not (found["x"].view(np.uint32) & (2**bits - 1)).any()


def test_arrays_count_samples_along_their_first_axis() -> None:
    np.savez("two.npz", ids=np.ones((2, 4, 7), np.int32), mask=np.ones((2, 7), bool))
    found = list(declared([Path("two.npz")], None, [IDS, MASK]))
    assert shapes(found) == [{"ids": (4, 7), "mask": (1, 7)}] * 2 and found[0]["ids"].dtype == np.int64
    np.save("one.npy", np.ones((5, 3)))
    assert shapes(list(declared([Path("one.npy")], None, [IMAGE]))) == [{"image": (1, 3)}] * 5


def test_a_generator_and_a_function_of_files() -> None:
    found = list(declared([], generator("yield {'image': np.zeros((2, 3))}; yield np.zeros(3)"), [IMAGE]))
    assert shapes(found) == [{"image": (2, 3)}, {"image": (1, 3)}]
    Path("b.txt").write_text("2"), Path("a.txt").write_text("1")
    found = list(declared([Path("b.txt"), Path("a.txt")], generator("return np.full(3, int(path.read_text()))"), [IMAGE]))
    assert [sample["image"].max() for sample in found] == [2, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"picture": np.ones((1, 3))}, "a.npz: expected an array for each of the inputs image; found picture"),
        ({"image": np.ones((1, 2, 4))}, "a.npz, sample 0: image has the shape [2, 4]: expected ['batch', 3]"),
        ({"image": np.ones((2, 3), complex)}, "a.npz, sample 0: image holds complex128: expected float32"),
        ({"image": np.ones((0, 3))}, "a.npz gives no samples: it must give at least one"),
        ({"image": np.array([None])}, "a.npz is not an array file: expected .npz or .npy, without Python objects"),
    ],
)
def test_arrays_that_do_not_fit(arrays: dict[str, Any], message: str) -> None:
    np.savez("a.npz", allow_pickle=True, **arrays)
    assert message in refusal([Path("a.npz")], None, IMAGE)


def test_other_files_and_other_types() -> None:
    Path("a.npz").write_text("This is no array.")
    assert "a.npz is not an array file" in refusal([Path("a.npz")], None, IMAGE)
    np.savez("b.npz", ids=np.ones((2, 7)), mask=np.ones((3, 7), bool))
    assert "its sizes differ: {'ids': 2, 'mask': 3}" in refusal([Path("b.npz")], None, IDS, MASK)
    np.savez("c.npz", ids=np.ones((2, 7)), mask=np.ones((2, 7), bool))
    assert "ids holds float64: expected int64" in refusal([Path("c.npz")], None, IDS, MASK)


def test_a_mistake_in_a_generator() -> None:
    message = refusal([], generator("yield {}['a']"), IMAGE)
    assert re.search(r"make\(\) failed:\n  data.py:3, in make: yield .*\n  KeyError: 'a'", message)
    sys.modules.pop("data")
    assert "expected an array for each of the inputs ids, mask; found a list" in refusal([], generator("yield []"), IDS, MASK)


def test_a_reference_is_read_as_it_was_written_and_its_bytes_depend_on_nothing_else() -> None:
    given = Reference("PyTorch 2", [{"a/b": np.ones((1, 2), np.float32)}], [{"y": np.array([True]), "z": np.arange(3)}])
    for name in ("first.npz", "second.npz"):
        write_reference(Path(name), given)
    assert Path("first.npz").read_bytes() == Path("second.npz").read_bytes()
    found = read_reference(Path("first.npz"))
    assert found.origin == "PyTorch 2" and found.samples[0]["a/b"].shape == (1, 2)
    assert found.outputs[0]["y"].dtype == bool and found.outputs[0]["z"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("arrays", [{}, {"x": np.ones(1)}, {"0/in/x": np.ones(1)}, {"0/in/x": np.ones(1), "1/out/y": np.ones(1)}])
def test_what_is_no_reference(arrays: dict[str, Any]) -> None:
    np.savez("no.npz", **arrays)
    with pytest.raises(ActionError, match=r"no\.npz is not a reference: expected arrays 0/in/INPUT, 0/out/OUTPUT"):
        read_reference(Path("no.npz"))
