"""config.pbtxt, read by Triton's own schema."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format

from enginewright.errors import ActionError
from enginewright.model.triton import Model, capability, config, version_of, with_more
from triton_schema import ModelConfig

IO = [
    {"name": "ids", "mode": "input", "dtype": "int64", "shape": ["batch", "sequence"]},
    {"name": 'a "quoted" näme', "mode": "output", "dtype": "float16", "shape": ["batch", 384]},
]


def read(model: Model, version: int = 7, policy: str = "specific") -> Any:
    return text_format.Parse(config(model, version, policy), ModelConfig())


def engine(io: list[dict[str, Any]] = IO, **rest: Any) -> Model:
    return Model("minilm", 'platform: "tensorrt_plan"', io, rest.pop("largest", {"batch": 32, "sequence": 256}), **rest)


def test_a_model_with_a_batch() -> None:
    found = read(engine())
    assert (found.name, found.platform, found.max_batch_size) == ("minilm", "tensorrt_plan", 32)
    (ids,), (out,) = found.input, found.output
    assert (ids.name, list(ids.dims), ids.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[ids.data_type].name) == (
        "ids", [-1], "TYPE_INT64",
    )  # fmt: skip
    assert (out.name, list(out.dims)) == ('a "quoted" näme', [384])
    assert list(found.version_policy.specific.versions) == [7]
    assert not found.instance_group and not found.cc_model_filenames


@pytest.mark.parametrize(
    ("shapes", "largest"),
    [
        ((["batch", 4], [4]), {"batch": 8}),  # the output has none
        ((["batch", 4], ["n", 4]), {"batch": 8, "n": 8}),
        (([1, 4], [1, 4]), {}),
        ((["batch", 4], ["batch", 4]), {}),  # nobody knows how large it may be
        ((["batch", 4], []), {"batch": 8}),
    ],
)
def test_without_a_batch_dimensions_are_whole(shapes: Any, largest: dict[str, int]) -> None:
    io = [{"name": mode, "mode": mode, "dtype": "float32", "shape": shape} for mode, shape in zip(("input", "output"), shapes)]
    found = read(engine(io, largest=largest))
    assert found.max_batch_size == 0
    wanted = [[-1 if isinstance(dim, str) else dim for dim in shape] or [1] for shape in shapes]
    assert [list(found.input[0].dims), list(found.output[0].dims)] == wanted


def test_a_tensor_of_one_number_a_sample() -> None:
    found = read(engine([{"name": mode, "mode": mode, "dtype": "bool", "shape": ["batch"]} for mode in ("input", "output")]))
    assert found.max_batch_size == 32
    assert [(list(each.dims), each.HasField("reshape"), list(each.reshape.shape)) for each in (found.input[0], found.output[0])] == [
        ([1], True, [])
    ] * 2


def test_files_by_architecture_and_profiles() -> None:
    found = read(engine(files={capability("sm_80"): "a.plan", capability("sm_120"): "b.plan"}, profiles=2), policy="latest")
    assert dict(found.cc_model_filenames) == {"8.0": "a.plan", "12.0": "b.plan"}
    assert list(found.instance_group[0].profile) == ["0", "1"]
    assert found.version_policy.latest.num_versions == 1


def test_a_type_that_triton_does_not_have() -> None:
    io = [{"name": "x", "mode": "input", "dtype": "float8_e4m3fn", "shape": [1]}]
    with pytest.raises(ActionError, match="minilm: input x is of type float8_e4m3fn, which Triton does not have"):
        config(engine(io), 1, "latest")


def test_versions_are_of_the_content() -> None:
    files = {"model.plan": "ab" * 32, "model.onnx.data": "cd" * 32}
    assert version_of(files) == version_of(dict(reversed(files.items())))
    assert version_of(files) != version_of({**files, "model.plan": "ac" * 32})
    assert 2**52 <= version_of(files) < 2**53 and len(str(version_of(files))) == 16
    assert int(float(version_of(files))) == version_of(files)


def test_what_somebody_else_adds() -> None:
    text = config(engine(), 7, "specific")
    more = """
    # name: "of the model"
    dynamic_batching { max_queue_delay_microseconds: 100 }
    instance_group [ { name: "a { b" kind: KIND_GPU } ]
    parameters < key: "platform" value: { string_value: 'it\\'s' } >
    """
    found = text_format.Parse(with_more(text, more.encode(), "more.pbtxt"), ModelConfig())
    assert (found.name, found.dynamic_batching.max_queue_delay_microseconds) == ("minilm", 100)
    assert with_more(text, b" \n", "more.pbtxt") == text


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (b"max_batch_size: 8", "more.pbtxt has max_batch_size, which is made of the model: leave it out"),
        (b'name: "other"', "more.pbtxt has name, which is made of the model"),
        (b"version_policy { all {} }", "more.pbtxt has version_policy, which is made"),
        (b"dynamic_batching {", "more.pbtxt: its brackets do not match: '}' is missing"),
        (b"dynamic_batching { ] }", "more.pbtxt: its brackets do not match, at ']'"),
        (b"}", "more.pbtxt: its brackets do not match, at '}'"),
        (b"# caf\xe9", "more.pbtxt is no text in UTF-8"),
    ],
)
def test_what_nobody_can_add(more: bytes, problem: str) -> None:
    text = config(engine(), 7, "specific")
    with pytest.raises(ActionError) as caught:
        with_more(text, more, "more.pbtxt")
    assert str(caught.value).startswith(problem)
