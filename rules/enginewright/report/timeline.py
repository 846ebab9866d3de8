"""Which worker did what when, as an SVG picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from enginewright.report.history import Action
from enginewright.report.words import duration

_ROW, _BAR, _AXIS = 26, 20, 22
"""Heights, in pixels."""

_STEPS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Seconds between two marks of the axis."""

_MARKS = 12
"""How many marks there are, at most."""


def timeline(actions: Sequence[Action], critical: Collection[str], seconds: float) -> str:
    """A row for each worker, a bar for each action; ``critical`` are the labels of those to be marked.

    Positions are in percent and text in pixels, so the picture fills its width and stays readable. A bar clips its own text.
    """
    whole = max([seconds, *(action.ended for action in actions)]) or 1.0
    rows = 1 + max((action.worker for action in actions), default=0)
    height = rows * _ROW
    parts = [f'<svg class="timeline" width="100%" height="{height + _AXIS}" role="img" aria-label="Timeline per worker">']
    step = next((each for each in _STEPS if whole / each <= _MARKS), _STEPS[-1] * (int(whole / _STEPS[-1] / _MARKS) + 1))
    for number in range(int(whole / step) + 1):
        share = number * step / whole
        x = _percent(share)
        parts.append(f'<line x1="{x}" y1="0" x2="{x}" y2="{height}"/>')
        if share < 0.96:
            parts.append(f'<text class="mark" x="{x}" y="{height + 15}">{_moment(number * step, step)}</text>')
    for action in actions:
        title = f"{action.label}: {action.status} in {duration(action.seconds)}, from {duration(action.began)} on"
        wide = _percent(max(action.seconds / whole, 0.0015))
        kind = f"bar {escape(action.status)}{' critical' if action.label in critical else ''}"
        parts.append(
            f'<svg class="{kind}" x="{_percent(action.began / whole)}" y="{action.worker * _ROW}" width="{wide}" height="{_BAR}">'
            f'<title>{escape(title)}</title><rect width="100%" height="100%" rx="3"/>'
            f'<text x="5" y="14">{escape(action.label.rpartition("/")[2])}</text></svg>'
        )
    return "\n".join([*parts, "</svg>"])


def _percent(share: float) -> str:
    return f"{share * 100:.3f}%"


def _moment(seconds: float, step: float) -> str:
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f}" if step >= 1 else f"{seconds:.2f}"
