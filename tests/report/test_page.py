"""The page of a report, as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from enginewright.report.history import Action, History, Picture, critical_path
from enginewright.report.page import COLOURS, page
from enginewright.report.words import duration, size

VOID = {"meta", "link"}

WEIGHTS = Action("models/x:weights", "cached", "Checkpoint", "", 0.0, 0.5, 0, saved=40.0, outputs={"build/models/x/w": 3 << 20})
ONNX = Action("models/x:onnx", "built", "OnnxExport", "parameter opset changed: 17 -> 18", 0.5, 9.5, 0, 1 << 30, deps=(WEIGHTS.label,))
OTHER = Action("models/y:other", "built", "PythonAction", "", 0.0, 6.0, 1)
ENGINE = Action("models/x:engine", "failed", "TensorrtEngine", "a <b> & 'c'", 9.5, 12.0, 0, deps=(ONNX.label, OTHER.label))
SKIPPED = Action("models/x:sm_90", "skipped", reason="needs tensorrt")
HISTORY = History("20261123T050102Z-4711", 1795410062.1, 12.5, ["models/x", "<script>"], "desk", 2, [WEIGHTS, OTHER, ONNX, ENGINE, SKIPPED])


SVG = (
    '<svg class="graph" xmlns="http://www.w3.org/2000/svg"><marker id="tip"></marker><g marker-end="url(#tip)"><text>onnx</text></g></svg>'
)
PICTURE = Picture(2, SVG)


class Reader(HTMLParser):
    """Checks that every element is closed in order; keeps the references and the text of each section."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.section = ""
        self.texts: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.references += [found[name] or "" for name in ("src", "href", "xlink:href", "data", "action") if name in found]
        if tag in ("section", "div"):
            self.section = found.get("id") or self.section
        assert tag != "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts[self.section] = self.texts.get(self.section, "") + data


def read(history: History, picture: Picture = PICTURE) -> Reader:
    reader = Reader()
    reader.feed(page(history, picture))
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_tells_all() -> None:
    texts = read(HISTORY).texts
    assert texts["time"].split("\n")[0] == "time 12.5 s at least 12.0 s: the critical path"
    assert [texts[name].split()[1] for name in ("built", "cached", "failed", "skipped")] == ["2", "1", "1", "1"]
    assert "40.0 s of work saved" in texts["cached"]
    assert texts["outputs"].startswith("outputs 3.0 MiB")
    assert texts["memory"].startswith("memory 1.0 GiB")
    assert re.findall(r"models/\S+:[a-z]+", texts["critical-path"]) == [WEIGHTS.label, ONNX.label, ENGINE.label]
    assert re.findall(r"models/\S+?:[a-z]+", texts["slowest-actions"]) == [ONNX.label, OTHER.label, ENGINE.label]
    assert "build/models/x/w" in texts["largest-outputs"]
    assert "parameter opset changed: 17 -> 18" in texts["all-actions"]
    assert texts["timeline"].count(": built in ") == 2
    assert "onnx" in texts["graph"]


def test_what_others_wrote_is_escaped() -> None:
    text = page(HISTORY, PICTURE)
    assert "a &lt;b&gt; &amp; &#x27;c&#x27;" in text
    assert "&lt;script&gt;" in text


def test_the_page_refers_to_nothing_outside_itself() -> None:
    assert read(HISTORY).references == ["data:,"]
    text = page(HISTORY, PICTURE).replace(' xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//|@import|url\((?!#)", text)


def test_the_same_history_gives_the_same_page() -> None:
    assert page(HISTORY, PICTURE) == page(HISTORY, PICTURE)


def test_a_graph_that_is_too_large_is_not_drawn_and_the_page_says_how_to_draw_a_part() -> None:
    told = read(HISTORY, Picture(4711)).texts["graph"]
    assert "4711 targets are too many to draw here" in told
    assert "doit graph 'deps(models/x:sm_90)'" in told


def test_the_colours_of_a_picture_are_those_of_the_page() -> None:
    variables = re.findall(r"(--\w+):", page(HISTORY, PICTURE))
    assert {colour for colour in COLOURS.values()} <= {f"var({name})" for name in variables}


def test_a_build_that_only_skipped_has_no_empty_sections() -> None:
    reader = read(History("id", 0.0, 0.0, [], "desk", 1, [SKIPPED]), Picture(0))
    assert not {"graph", "critical-path", "slowest-actions", "from-the-cache", "largest-outputs"} & set(reader.texts)
    assert "needs tensorrt" in reader.texts["all-actions"]


def test_the_critical_path_is_the_longest_chain() -> None:
    assert critical_path([OTHER, WEIGHTS, ONNX, ENGINE]) == [WEIGHTS, ONNX, ENGINE]
    assert critical_path([OTHER, WEIGHTS]) == [OTHER]
    assert critical_path([]) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0 ms"), (0.9994, "999 ms"), (1.0, "1.0 s"), (59.97, "1 min 0 s"), (125.0, "2 min 5 s"), (3700.0, "1 h 1 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 40, "3.0 TiB")])
def test_sizes(number: int, words: str) -> None:
    assert size(number) == words
