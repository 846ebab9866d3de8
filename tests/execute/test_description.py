from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.execute.description import Record, Stored, describe, read_description, read_record, write_record
from enginewright.graph.action import Action, Artifact, WarmUp
from enginewright.graph.key import material
from enginewright.graph.label import Label

LABEL = Label("models/x", "t")
PATHS = st.lists(st.text("abcxyz_é", min_size=1), min_size=1, max_size=3).map("/".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(), inner, max_size=3),
)
ACTIONS = st.builds(
    Action,
    mnemonic=st.just("Make"),
    run=st.just("module:function"),
    inputs=st.dictionaries(st.text(min_size=1), st.builds(Artifact, path=PATHS, tree=st.booleans(), origin=st.just("")), max_size=4),
    outputs=st.dictionaries(
        st.text(min_size=1), st.builds(Artifact, path=PATHS, tree=st.booleans(), origin=st.just("")), min_size=1, max_size=3
    ),
    params=st.dictionaries(st.text(), VALUES, max_size=3),
    packages=st.lists(st.text("abc", min_size=1), max_size=3).map(tuple),
    environment=st.lists(st.text("AB_", min_size=1), max_size=2).map(tuple),
    warm_up=st.none() | st.builds(WarmUp, run=st.text(), packages=st.just(("onnx",))),
)


def covered(action: Action):
    digests = {name: f"{i:032x}" for i, name in enumerate(action.inputs)}
    return material(action, inputs=digests, code={"m": "0" * 32}, toolchain={"onnx": "1.22.0"}, platform="linux")


@given(ACTIONS)
def test_what_is_read_has_the_key_of_what_was_written(action: Action) -> None:
    data = describe(LABEL, action, covered(action))
    found = read_description(data)
    assert found.material.key() == covered(action).key()
    assert (found.label, found.action.inputs, found.action.outputs) == (LABEL, action.inputs, action.outputs)
    for name in ("packages", "warm_up", "environment"):
        assert getattr(found.action, name) == getattr(action, name)
    assert describe(*found) == data


@given(ACTIONS)
def test_what_is_offered_is_told_and_is_in_no_key(action: Action) -> None:
    names = sorted(action.outputs)[:1]
    data = describe(LABEL, action, covered(action), names)
    found = read_description(data)
    assert (found.offered, found.material.key()) == (tuple(names), covered(action).key())
    assert describe(*found) == data != describe(LABEL, action, covered(action))


def test_an_offer_of_what_is_no_output_is_refused() -> None:
    action = Action("Make", "m:f", {}, {"out": Artifact("out")})
    with pytest.raises(ValueError, match="none of its outputs"):
        read_description(describe(LABEL, action, covered(action), ["other"]))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "material": {}}', b"\xff"])
def test_other_bytes_are_no_description(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_description(data)


def test_a_later_format_is_named() -> None:
    action = Action("Make", "m:f", {}, {"out": Artifact("out")})
    data = json.loads(describe(LABEL, action, covered(action))) | {"format": 99}
    with pytest.raises(ValueError, match="format 99"):
        read_description(json.dumps(data).encode())


STORED = Stored("a/b", True, "0" * 32, "1" * 64, 5)


def test_records() -> None:
    record = Record(started=1.5, seconds=2.0, peak_rss=3, host="far", gpu="sm_90", sandbox="namespace", outputs={"out": [STORED]})
    assert read_record(write_record(record)) == record
    for data in (b"", b"[1]", b'{"started": 1}', b'{"started": "soon"}', b"[" * 100_000):
        with pytest.raises(ValueError):
            read_record(data)


@pytest.mark.parametrize(
    "stored",
    [
        STORED._replace(path="../b"),
        STORED._replace(path="/b"),
        STORED._replace(path="a//b"),
        STORED._replace(path="a/b\0"),
        STORED._replace(digest="../../etc"),
        STORED._replace(strong="2" * 63),
        STORED._replace(size=-1),
        STORED._replace(size=True),
    ],
)
def test_a_record_that_names_no_digests_or_leaves_its_output_is_refused(stored: Stored) -> None:
    record = Record(started=1.5, seconds=2.0, peak_rss=3, host="far", gpu="", sandbox="", outputs={"out": [stored]})
    with pytest.raises(ValueError, match="no record of a run"):
        read_record(write_record(record))
