from __future__ import annotations

import re
from collections.abc import Collection
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from hypothesis import given
from hypothesis import strategies as st

from enginewright.graph.dag import Graph
from enginewright.graph.label import Label
from enginewright.graph.svg import Card, cards, draw
from graphs import graph, label, random_graphs, target

SVG = "{http://www.w3.org/2000/svg}"

EXAMPLE = graph(
    target(":weights", "checkpoint", writes=["build/models/x/weights.safetensors"]),
    target(":onnx", "onnx_model", [":weights"], writes=["build/models/x/onnx.onnx"]),
    target(":engine_sm_80", "tensorrt_engine", [":onnx"], writes=["build/models/x/e.engine", "build/models/x/e.json"]),
    target(":engine_sm_90", "tensorrt_engine", [":onnx"], writes=["build/models/x/f.engine"]),
    target(":engine", "group", [":engine_sm_80", ":engine_sm_90"]),
)


def text(found: Graph, labels: Collection[Label] | None = None, **marks: Collection[Label]) -> str:
    return draw(cards(found, found.deps if labels is None else labels, **{"stale": (), "skipped": (), **marks}))


def picture(found: Graph, labels: Collection[Label] | None = None, **marks: Collection[Label]) -> Element:
    return ElementTree.fromstring(text(found, labels, **marks))


def drawn_cards(drawn: Element) -> dict[str, Element]:
    """The group of each card, by the first line of its tooltip."""
    return {title.split("\n")[0]: group for group in drawn.iter(f"{SVG}g") if (title := group.findtext(f"{SVG}title"))}


def words(element: Element) -> list[str]:
    return [text.text or "" for text in element.iter(f"{SVG}text")]


def lines(drawn: Element) -> list[Element]:
    return [path for path in drawn.iter(f"{SVG}path") if path.get("class") == "edge"]


def test_every_target_has_a_card_and_a_tooltip() -> None:
    found = drawn_cards(picture(EXAMPLE, stale={label(":onnx")}))
    assert list(found) == [str(each) for each in EXAMPLE.deps]
    card = found["models/x:engine_sm_80"]
    assert words(card) == ["engine_sm_80", "models/x"]
    assert card.findtext(f"{SVG}title") == (
        "models/x:engine_sm_80\ntensorrt_engine\nmodels/x/BUILD.py:3\nbuild/models/x/e.engine\nbuild/models/x/e.json"
    )
    assert found["models/x:engine"].findtext(f"{SVG}title") == "models/x:engine\ngroup\nmodels/x/BUILD.py:3"
    assert found["models/x:onnx"].findtext(f"{SVG}title", "").endswith("\nbuild/models/x/onnx.onnx\nstale")


def test_dependencies_are_lines_between_those_drawn() -> None:
    assert len(lines(picture(EXAMPLE))) == 5
    assert len(lines(picture(EXAMPLE, [label(":weights"), label(":onnx"), label(":engine")]))) == 1


def test_targets_of_one_kind_have_one_colour() -> None:
    drawn = picture(EXAMPLE)
    classes = {name: card.get("class") for name, card in drawn_cards(drawn).items()}
    assert classes["models/x:engine_sm_80"] == classes["models/x:engine_sm_90"]
    assert len(set(classes.values())) == 4
    style = drawn.findtext(f"{SVG}style", "")
    assert len({re.search(rf"\.{each} .swatch {{ fill: (#\w+)", style)[1] for each in classes.values()}) == 4  # type: ignore[index]
    assert words(drawn)[:4] == ["checkpoint (1)", "onnx_model (1)", "tensorrt_engine (2)", "group (1)"]


def test_stale_and_skipped_targets_are_marked_and_explained() -> None:
    plain = picture(EXAMPLE)
    assert not any(word.startswith(("stale", "skipped")) for word in words(plain))
    marked = picture(EXAMPLE, stale=[label(":onnx"), label(":engine")], skipped=[label(":engine_sm_90")])
    states = {name.partition(":")[2]: (card.get("class") or "").split()[1:] for name, card in drawn_cards(marked).items()}
    assert states == {"weights": [], "onnx": ["stale"], "engine_sm_80": [], "engine_sm_90": ["skipped"], "engine": ["stale"]}
    assert words(marked)[4:6] == [
        "stale (2): the next build runs or restores it",
        "skipped (1): cannot be built on this machine, or is ignored",
    ]


def test_the_picture_needs_nothing_else() -> None:
    found = text(EXAMPLE)
    assert found.count("http") == 1 and 'xmlns="http://www.w3.org/2000/svg"' in found
    assert not re.search(r"href|src=|@import|<script|<image|<!", found)
    assert set(re.findall(r"url\((.*?)\)", found)) == {"#tip"}
    assert "@media (prefers-color-scheme: dark)" in found


def test_its_style_is_for_nothing_outside_the_picture() -> None:
    root = picture(EXAMPLE)
    assert root.get("class") == "graph"
    selectors = [each for line in root.findtext(f"{SVG}style", "").splitlines() if "{" in line for each in line.split("{")[0].split(",")]
    assert {each.split()[0] for each in selectors} == {".graph", "@media"}


def test_groups_may_have_colours_of_their_own() -> None:
    weights, onnx, engine = label(":weights"), label(":onnx"), label(":engine")
    given = [Card(weights, [], "up to date"), Card(onnx, [weights], "built", "critical", ["3 s"]), Card(engine, [onnx], "other")]
    drawn = ElementTree.fromstring(draw(given, {"built": "var(--built)", "failed": "red", "up to date": "#888"}))
    assert words(drawn)[:4] == ["built (1)", "up to date (1)", "other (1)", "on the critical path (1)"]
    found = drawn_cards(drawn)["models/x:onnx"]
    assert found.findtext(f"{SVG}title") == "models/x:onnx\n3 s"
    colour, mark = (found.get("class") or "").split()
    style = drawn.findtext(f"{SVG}style", "")
    assert mark == "critical"
    assert f".graph .{colour} .frame {{ stroke: var(--built) }}" in style
    assert "red" not in style


def test_cards_and_lines_lie_inside_the_picture_and_cards_apart() -> None:
    many = graph(*(target(f":{'x' * i}{i}", f"kind{i}", [f":{'x' * (i - 3)}{i - 3}"] if i > 2 else []) for i in range(60)))
    drawn = picture(many)
    width, height = float(drawn.get("width", 0)), float(drawn.get("height", 0))
    assert drawn.get("viewBox") == f"0 0 {drawn.get('width')} {drawn.get('height')}"
    boxes = []
    for group in drawn.iter(f"{SVG}g"):
        left, top = map(float, re.findall(r"[\d.]+", group.get("transform", "")))
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        boxes.append((left, top, left + float(rect.get("width", 0)), top + float(rect.get("height", 0))))
    assert all(0 < left < right < width and 0 < top < bottom < height for left, top, right, bottom in boxes)
    assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for a in boxes for b in boxes if a is not b)
    for line in lines(drawn):
        assert all(0 <= float(number) <= max(width, height) for number in re.findall(r"-?[\d.]+", line.get("d", "")))


def test_a_long_name_is_shortened_in_the_middle() -> None:
    name = "engine_of_the_first_model_that_was_ever_built_for_sm_80"
    (card,) = drawn_cards(picture(graph(target(f":{name}")))).values()
    assert words(card) == ["engine_of_the_firs…r_built_for_sm_80", "models/x"]
    assert (card.findtext(f"{SVG}title") or "").startswith(f"models/x:{name}\n")


def test_what_xml_cannot_hold_is_replaced() -> None:
    (card,) = drawn_cards(picture(graph(target(":a", "a<&>\"'b\x00\x1b\ud800\ufffe", writes=["build/<x>&.txt"])))).values()
    assert (card.findtext(f"{SVG}title") or "").split("\n")[1:] == ["a<&>\"'b����", "models/x/BUILD.py:3", "build/<x>&.txt"]


def test_a_graph_without_targets() -> None:
    assert drawn_cards(picture(graph())) == {}


@given(random_graphs(), st.data())
def test_any_graph_gives_well_formed_xml_the_same_each_time(found: Graph, data: st.DataObject) -> None:
    labels = data.draw(st.sets(st.sampled_from(list(found.deps))))
    stale = data.draw(st.sets(st.sampled_from(list(found.deps))))
    drawn = picture(found, labels, stale=stale)
    assert set(drawn_cards(drawn)) == set(map(str, labels))
    assert {name for name, card in drawn_cards(drawn).items() if "stale" in (card.get("class") or "")} == set(map(str, labels & stale))
    orders = [labels, sorted(labels), sorted(labels, reverse=True)]
    assert len({text(found, order, stale=stale) for order in orders}) == 1


@given(st.text())
def test_any_text_may_stand_in_a_tooltip(path: str) -> None:
    assert len(drawn_cards(picture(graph(target(":a", writes=[path]))))) == 1
