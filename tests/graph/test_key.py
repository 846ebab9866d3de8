from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from enginewright.graph.action import Action, Artifact
from enginewright.graph.key import Material, material
from materials import MATERIALS

ACTION = Action(
    mnemonic="Fp16",
    run="enginewright.rules.precision:convert",
    inputs={"model": Artifact("build/models/x/onnx.onnx"), "net": Artifact("models/x/net.py")},
    outputs={"onnx": Artifact("build/models/x/fp16.onnx")},
    params={"max_error": 0.01, "keep": ("a", "b")},
    packages=("onnx",),
    requires={},
)
MEASURED: dict[str, Any] = {
    "inputs": {"model": "a" * 32, "net": "b" * 32},
    "code": {"enginewright.rules.precision": "c" * 32},
    "toolchain": {"onnx": "1.18.0"},
    "platform": "linux-x86_64-cpython-3.11.7",
}


def key(action: Action = ACTION, **measured: Any) -> str:
    return material(action, **{**MEASURED, **measured}).key()


@given(MATERIALS, st.sampled_from(fields(Material)), st.data())
def test_the_key_changes_when_any_one_part_of_the_material_does(one: Material, field: Any, data: st.DataObject) -> None:
    changed = getattr(data.draw(MATERIALS), field.name)
    assume(getattr(one, field.name) != changed)
    assert replace(one, **{field.name: changed}).key() != one.key()


@given(MATERIALS, st.randoms(use_true_random=False))
def test_the_key_does_not_depend_on_the_order_of_anything(one: Material, random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        items = list(value.items())
        random.shuffle(items)
        return dict(items)

    assert replace(one, **{field.name: shuffled(getattr(one, field.name)) for field in fields(Material)}).key() == one.key()


def test_the_key_is_32_hexadecimal_digits_and_always_the_same() -> None:
    # Changing this makes every cached result stale: that is what FORMAT is for.
    assert key() == "e3b0fb31fba13de62fca6ef00d3e06cc"


def test_the_key_covers_everything_that_an_action_declares_and_runs_with() -> None:
    changed = {
        "nothing": key(),
        "mnemonic": key(replace(ACTION, mnemonic="Int8")),
        "run": key(replace(ACTION, run="enginewright.rules.precision:other")),
        "parameter": key(replace(ACTION, params={**ACTION.params, "max_error": 0.02})),
        "type of a parameter": key(replace(ACTION, params={**ACTION.params, "max_error": 0})),
        "order of a list": key(replace(ACTION, params={**ACTION.params, "keep": ("b", "a")})),
        "new parameter": key(replace(ACTION, params={**ACTION.params, "new": None})),
        "requirement": key(replace(ACTION, requires={"gpu": "sm_90"})),
        "name of an input": key(
            replace(ACTION, inputs={"model": ACTION.inputs["model"], "file": ACTION.inputs["net"]}),
            inputs={"model": "a" * 32, "file": "b" * 32},
        ),
        "path of an input": key(replace(ACTION, inputs={**ACTION.inputs, "net": Artifact("models/x/other.py")})),
        "bytes of an input": key(inputs={"model": "a" * 32, "net": "d" * 32}),
        "two inputs swapped": key(inputs={"model": "b" * 32, "net": "a" * 32}),
        "path of an output": key(replace(ACTION, outputs={"onnx": Artifact("build/models/x/other.onnx")})),
        "output as a tree": key(replace(ACTION, outputs={"onnx": Artifact("build/models/x/fp16.onnx", tree=True)})),
        "code": key(code={"enginewright.rules.precision": "e" * 32}),
        "another module": key(code={**MEASURED["code"], "enginewright.errors": "f" * 32}),
        "version": key(toolchain={"onnx": "1.18.1"}),
        "another distribution": key(toolchain={"onnx": "1.18.0", "numpy": "2.0"}),
        "platform": key(platform="linux-aarch64-cpython-3.11.7"),
    }
    assert len(set(changed.values())) == len(changed)


def test_the_key_does_not_cover_where_a_source_was_found() -> None:
    moved = {**ACTION.inputs, "net": Artifact("models/x/net.py", origin="dist://some-model/net.py")}
    assert key(replace(ACTION, inputs=moved)) == key()


def test_the_key_does_not_cover_declared_packages_but_what_they_install() -> None:
    assert key(replace(ACTION, packages=("onnx", "numpy"))) == key()
