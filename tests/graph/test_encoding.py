from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.graph.encoding import encode

TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too: they stand for odd bytes of file names
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4).map(tuple), st.dictionaries(TEXT, inner, max_size=4)), max_leaves=12
)


def typed(value: Any) -> Any:
    """``value`` as it must come back: lists as tuples, dicts without an order, numbers of each type apart."""
    if isinstance(value, (tuple, list)):
        return ("list", tuple(typed(item) for item in value))
    if isinstance(value, dict):
        return ("dict", frozenset((key, typed(item)) for key, item in value.items()))
    if isinstance(value, float):
        return ("float", value, math.copysign(1.0, value))
    return (type(value).__name__, value)


def decode(data: bytes) -> tuple[Any, bytes]:
    """Read one value, in the form of `typed`, from the start of ``data``, and return it with what is left."""
    tag, data = data[:1], data[1:]
    if tag in b"ntf":
        return typed({b"n": None, b"t": True, b"f": False}[tag]), data
    if tag in b"id":
        text, _, data = data.partition(b";")
        return typed(int(text) if tag == b"i" else float.fromhex(text.decode())), data
    size, _, data = data.partition(b":")
    if tag == b"s":
        return typed(data[: int(size)].decode("utf-8", "surrogatepass")), data[int(size) :]
    items = []
    for _ in range(int(size)):
        if tag == b"m":
            (_, key), data = decode(data)
        item, data = decode(data)
        items.append((key, item) if tag == b"m" else item)
    return ("dict", frozenset(items)) if tag == b"m" else ("list", tuple(items)), data


@given(VALUES, st.binary())
def test_an_encoding_can_be_read_back_whatever_follows_it(value: Any, rest: bytes) -> None:
    # So different values have different encodings, and none is a prefix of another.
    assert decode(encode(value) + rest) == (typed(value), rest)


@given(TEXT, TEXT)
def test_different_texts_are_encoded_differently(one: str, other: str) -> None:
    assert (encode(one) == encode(other)) == (one == other)


def test_a_text_is_not_taken_for_the_escaped_bytes_of_another() -> None:
    assert encode("é") != encode("é".encode().decode("ascii", "surrogateescape"))


@given(st.dictionaries(TEXT, SCALARS), st.randoms(use_true_random=False))
def test_the_order_of_a_dict_does_not_matter(value: dict[str, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(value)


@given(st.lists(SCALARS))
def test_a_list_is_encoded_as_a_tuple_is(value: list[Any]) -> None:
    assert encode(value) == encode(tuple(value))  # type: ignore[arg-type]  # what JSON gives back


def test_numbers_of_different_types_are_different_values() -> None:
    assert len({encode(1), encode(1.0), encode(True), encode("1"), encode((1,))}) == 5
    assert len({encode(0), encode(0.0), encode(-0.0), encode(False), encode(None), encode(""), encode(()), encode({})}) == 8


def test_every_mapping_is_a_dict() -> None:
    assert encode(MappingProxyType({"b": 1, "a": 2})) == encode({"a": 2, "b": 1})


def test_the_encoding_is_the_one_that_stored_keys_were_made_of() -> None:
    # Changing any of this makes every cached result stale: raise enginewright.graph.key.FORMAT with it.
    value = {"b": (1, -2, 0.5), "a": None, "é": {"t": True, "f": False}}
    assert encode(value) == b"m3:s1:ans1:bl3:i1;i-2;d0x1.0000000000000p-1;s2:\xc3\xa9m2:s1:ffs1:tt"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({1, 2}, "set cannot be part of a key"),
        (b"bytes", "bytes cannot be part of a key"),
        (object, "type cannot be part of a key"),
        (math.nan, "nan cannot be part of a key: it is no finite number"),
        (-math.inf, "-inf cannot be part of a key: it is no finite number"),
        ({"a": (1, [math.nan])}, "nan cannot be part of a key"),
        ({1: "a"}, "needs strings as keys, not 1"),
        ({None: 1, "a": 2}, "needs strings as keys, not None"),
        (((), {"a": {3}}), "set cannot be part of a key"),
    ],
)
def test_what_is_no_plain_value_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        encode(value)


@pytest.mark.parametrize("make", [lambda: 5e-324, lambda: 10**400, lambda: "\ud800", lambda: "\x00"])
def test_extreme_values_have_an_encoding(make: Callable[[], Any]) -> None:
    assert encode(make()) == encode(make())
