"""A picture of a graph: one SVG file that needs nothing else, for light and for dark screens.

Targets stand in columns, each to the right of all it depends on. Lengths are in SVG's user units, CSS pixels in a browser.
The style reaches nothing outside the picture, so that it may also stand in an HTML page.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

from enginewright.graph.dag import Graph
from enginewright.graph.label import Label
from enginewright.graph.layout import Line, layout

_COLOURS = ("#4e79a7", "#e08a1e", "#2ca58d", "#a76fb0", "#8c7a4f", "#3fa7d6", "#c9a227", "#7c6fd0", "#6a8f3c", "#d37295")
"""One a kind, in turn. None comes near the red of what is stale."""

_STYLE = """
.graph { background: #ffffff }
.graph text { font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #1f2328 }
.graph .name { font-size: 13px; font-weight: 600 }
.graph .package { font-size: 11px; fill: #59636e }
.graph .legend { font-size: 12px }
.graph .card { fill: #ffffff }
.graph .tint { fill-opacity: 0.1 }
.graph .frame { fill: none; stroke: #c4cbd3 }
.graph .edge { fill: none; stroke: #9aa4ae; stroke-width: 1.2 }
.graph .tip { fill: #9aa4ae }
.graph .stale .frame { stroke: #d1242f; stroke-width: 1.4; stroke-dasharray: 5 3 }
.graph .critical .frame { stroke: #e0891b; stroke-width: 2.5 }
.graph .skipped { opacity: 0.5 }
@media (prefers-color-scheme: dark) {
.graph { background: #0d1117 }
.graph text { fill: #e6edf3 }
.graph .package { fill: #9198a1 }
.graph .card { fill: #151b23 }
.graph .tint { fill-opacity: 0.2 }
.graph .frame { stroke: #3d444d }
.graph .edge { stroke: #59636e }
.graph .tip { fill: #59636e }
.graph .stale .frame { stroke: #ff7b72 }
.graph .critical .frame { stroke: #f2a541 }
}
"""

_MARKS = {
    "stale": "stale ({}): the next build runs or restores it",
    "skipped": "skipped ({}): cannot be built on this machine, or is ignored",
    "critical": "on the critical path ({})",
}
"""The marks that a card may have, and their words in the legend."""

_MARGIN = 24
_CARD = 40
_ROW = 52
_GAP = 56
_LEGEND_ROW = 24
_LEAST_WIDTH = 480
_LONGEST = 36
"""How many characters of a name are shown; the tooltip has them all."""


class _Column(NamedTuple):
    left: float
    right: float


class _Entry(NamedTuple):
    """A line of the legend: the classes of its swatch, and words."""

    classes: str
    text: str


class Card(NamedTuple):
    """A target as it is drawn.

    Cards of one ``group`` have one colour, and a line of the legend. ``mark`` is "stale", "skipped", "critical" or empty. ``about``
    are the lines of the tooltip after the label.
    """

    label: Label
    deps: Sequence[Label]
    group: str
    mark: str = ""
    about: Sequence[str] = ()


def cards(graph: Graph, labels: Collection[Label], *, stale: Collection[Label], skipped: Collection[Label]) -> list[Card]:
    """The targets ``labels`` as cards, in the colours of their rules, those marked that are ``stale`` or ``skipped``."""
    found = []
    for target in (graph.targets[label] for label in graph.deps if label in labels):
        mark = "stale" if target.label in stale else "skipped" if target.label in skipped else ""
        outputs = [artifact.path for artifact in target.action.outputs.values()] if target.action else []
        about = [target.kind, str(target.location), *outputs, *([mark] if mark else [])]
        found.append(Card(target.label, target.deps, target.kind, mark, about))
    return found


def draw(cards: Sequence[Card], colours: Mapping[str, str] | None = None) -> str:
    """The cards, each given after those it depends on, and the dependencies between them, as an SVG document.

    ``colours`` are CSS colours of groups, which frame the cards too and come first in the legend; other groups have some colour of
    their own. The same arguments give the same text.
    """
    places, ways = layout({card.label: card.deps for card in cards})
    columns = _columns((places[card.label].layer, card) for card in cards)
    counts = Counter(card.group for card in cards)
    given = {group: colour for group, colour in (colours or {}).items() if group in counts}
    groups = {group: f"k{i}" for i, group in enumerate(dict.fromkeys([*given, *counts]))}
    width = max(_LEAST_WIDTH, columns[-1].right + _MARGIN if columns else 0)
    legend, top = _legend(_entries(groups, counts, Counter(card.mark for card in cards)), width)
    height = top + max((place.row for place in places.values()), default=0) * _ROW + _CARD + _MARGIN
    right, bottom = _number(width), _number(height)
    lines = [
        f'<svg class="graph" xmlns="http://www.w3.org/2000/svg" width="{right}" height="{bottom}" viewBox="0 0 {right} {bottom}">',
        f"<style>\n{_coloured(groups, given)}{_STYLE}</style>",
        '<marker id="tip" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto" markerUnits="userSpaceOnUse">'
        '<path class="tip" d="M0 0L6 3L0 6z"/></marker>',
        *legend,
    ]
    lines += [_line(each, columns, top) for each in ways]
    for card in cards:
        layer, row = places[card.label]
        lines.append(_card(card, groups[card.group], columns[layer], top + row * _ROW))
    return "\n".join([*lines, "</svg>\n"])


def _columns(placed: Iterable[tuple[int, Card]]) -> list[_Column]:
    """A column a layer, as wide as its widest card."""
    widths: dict[int, float] = {}
    for layer, card in placed:
        # Nothing here knows the font: these are widths that no usual one exceeds.
        text = max(8.2 * len(_shortened(card.label.name)), 6.4 * len(_shortened(card.label.package)))
        widths[layer] = max(widths.get(layer, 0), text + 28)
    columns, left = [], float(_MARGIN)
    for layer in sorted(widths):
        columns.append(_Column(left, left + widths[layer]))
        left += widths[layer] + _GAP
    return columns


def _entries(groups: Mapping[str, str], counts: Mapping[str, int], marks: Mapping[str, int]) -> list[_Entry]:
    entries = [_Entry(colour, f"{group} ({counts[group]})") for group, colour in groups.items()]
    return entries + [_Entry(mark, text.format(marks[mark])) for mark, text in _MARKS.items() if marks.get(mark)]


def _legend(entries: Iterable[_Entry], width: float) -> tuple[list[str], float]:
    """The lines of the legend, in as many rows as a picture of this width needs, and where what comes below it begins."""
    lines, x, y = [], float(_MARGIN), float(_MARGIN)
    for classes, text in entries:
        needed = 24 + 6.8 * len(text)
        if x > _MARGIN and x + needed > width - _MARGIN:
            x, y = float(_MARGIN), y + _LEGEND_ROW
        part = "frame" if classes in _MARKS else "swatch"
        lines.append(
            f'<g class="{classes}" transform="translate({_number(x)} {_number(y)})"><rect class="{part}" width="16" height="12" rx="3"/>'
            f'<text class="legend" x="22" y="10">{_text(text)}</text></g>'
        )
        x += needed + 16
    return lines, y + _LEGEND_ROW + _MARGIN / 2


def _card(card: Card, colour: str, column: _Column, top: float) -> str:
    classes = f"{colour} {card.mark}" if card.mark else colour
    size = f'width="{_number(column.right - column.left)}" height="{_CARD}" rx="6"'
    title = "\n".join([str(card.label), *card.about])
    return (
        f'<g class="{classes}" transform="translate({_number(column.left)} {_number(top)})"><title>{_text(title)}</title>'
        f'<rect class="card" {size}/><rect class="tint" {size}/><rect class="frame" {size}/>'
        f'<rect class="swatch" x="6" y="8" width="4" height="{_CARD - 16}" rx="2"/>'
        f'<text class="name" x="18" y="17">{_text(_shortened(card.label.name))}</text>'
        f'<text class="package" x="18" y="32">{_text(_shortened(card.label.package))}</text></g>'
    )


def _line(line: Line, columns: Sequence[_Column], top: float) -> str:
    """From the right side of a column to the left side of the next, and across that unless a card is there."""
    column, target = columns[line.layer : line.layer + 2]
    x, end, middle = _number(column.right), _number(target.left), _number((column.right + target.left) / 2)
    y, to = (_number(top + row * _ROW + _CARD / 2) for row in (line.start, line.end))
    path = f"M{x} {y}C{middle} {y} {middle} {to} {end} {to}"
    if line.arrives:
        return f'<path class="edge" marker-end="url(#tip)" d="{path}"/>'
    return f'<path class="edge" d="{path}H{_number(target.right)}"/>'


def _coloured(groups: Mapping[str, str], given: Mapping[str, str]) -> str:
    palette = cycle(_COLOURS)
    lines = []
    for group, each in groups.items():
        colour = given.get(group) or next(palette)
        lines.append(f".graph .{each} .tint, .graph .{each} .swatch {{ fill: {colour} }}\n")
        if group in given:
            lines.append(f".graph .{each} .frame {{ stroke: {colour} }}\n")
    return "".join(lines)


def _shortened(name: str) -> str:
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[:half]}…{name[1 - half :]}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(text: str) -> str:
    """Text as XML holds it, without the characters that XML cannot hold (https://www.w3.org/TR/xml/#charsets)."""
    return html.escape(_NOT_XML.sub("\ufffd", text))
