"""Materials of every kind, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from enginewright.graph.key import Material

WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=6)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), FLOATS, WORDS, st.lists(WORDS, max_size=2).map(tuple))


def mappings(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(WORDS, values, max_size=3)


MATERIALS = st.builds(
    Material,
    mnemonic=WORDS,
    run=WORDS,
    params=mappings(VALUES | mappings(VALUES)),
    requires=mappings(WORDS),
    inputs=mappings(st.tuples(WORDS, WORDS)),
    outputs=mappings(WORDS),
    code=mappings(WORDS),
    toolchain=mappings(WORDS),
    platform=WORDS,
    format=st.integers(0, 3),
)
