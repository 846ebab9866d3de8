"""A build as one HTML page that refers to nothing outside itself: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape

from enginewright.report.history import Action, History, Picture, critical_path
from enginewright.report.timeline import timeline
from enginewright.report.words import duration, size

_TOP = 10
"""How many of the slowest actions and the largest outputs are listed."""


COLOURS = {**{status: f"var(--{status})" for status in ("built", "cached", "failed", "skipped")}, "up to date": "var(--faint)"}
"""The colours in which a picture on the page shows what became of a target, as CSS."""


def page(history: History, picture: Picture) -> str:
    """The whole page. The same history and picture give the same text."""
    ran = history.ran
    critical = critical_path(ran)
    sections = [
        _tiles(history, critical),
        _section("Timeline", _LEGEND + timeline(ran, {action.label for action in critical}, history.seconds)),
        _section("Critical path", _critical(critical)),
        _section("Graph", _graph(picture, history.actions)),
        _section("Slowest actions", _slowest(ran)),
        _section("From the cache", _cached(history.having("cached"))),
        _section("Largest outputs", _outputs(ran)),
        _section("All actions", _actions(history.actions)),
    ]
    body = "\n".join(section for section in sections if section)
    title = f"Build {escape(history.id)}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{_facts(history)}</p>
</header>
{body}
</body>
</html>
"""


def _facts(history: History) -> str:
    started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(history.started))
    asked = " ".join(history.args) or "every target"
    at_a_time = f"{history.processes} action{'s' * (history.processes != 1)} at a time"
    return " &middot; ".join(escape(fact) for fact in (asked, started, f"on {history.host}", at_a_time))


def _tiles(history: History, critical: Sequence[Action]) -> str:
    path = sum(action.seconds for action in critical)
    saved = sum(action.saved for action in history.actions)
    total = sum(sum(action.outputs.values()) for action in history.actions)
    peak = max((action.peak_rss for action in history.actions), default=0)
    counts = {status: len(history.having(status)) for status in ("built", "cached", "failed", "skipped")}
    tiles = [
        ("time", duration(history.seconds), f"at least {duration(path)}: the critical path"),
        ("built", str(counts["built"]), "ran and gave a result"),
        ("cached", str(counts["cached"]), f"restored, {duration(saved)} of work saved" if counts["cached"] else "restored from the store"),
        ("failed", str(counts["failed"]), "ran and gave none"),
        ("skipped", str(counts["skipped"]), "cannot run here"),
        ("outputs", size(total), "in all"),
        ("memory", size(peak), "at the peak of one action"),
    ]
    return f'<div class="tiles">{"".join(_tile(*each) for each in tiles)}</div>'


def _tile(name: str, value: str, note: str) -> str:
    tone = "none" if value == "0" else name
    return f'<div class="tile" id="{name}"><b>{name}</b> <strong class="{tone}">{value}</strong> <span>{note}</span></div>\n'


def _section(title: str, content: str) -> str:
    """A section, or nothing when there is nothing to put into it."""
    name = title.lower().replace(" ", "-")
    return f'<section id="{name}">\n<h2>{title}</h2>\n{content}\n</section>' if content else ""


def _graph(picture: Picture, actions: Sequence[Action]) -> str:
    if picture.svg:
        return f'{_GRAPH_NOTE}<div class="picture">\n{picture.svg}</div>'
    if not picture.targets:
        return ""
    part = escape(f"doit graph 'deps({actions[-1].label})'")
    return f"<p>{picture.targets} targets are too many to draw here. A part of them is drawn by <code>{part}</code>, as they are now.</p>"


def _critical(path: Sequence[Action]) -> str:
    whole = sum(action.seconds for action in path)
    if not whole:
        return ""
    note = f"<p>{duration(whole)} of actions that wait for each other: with any number of processes, the build takes at least as long.</p>"
    return note + _bars((action.label, action.seconds, duration(action.seconds)) for action in path)


def _slowest(ran: Iterable[Action]) -> str:
    found = sorted((action for action in ran if action.status != "cached"), key=lambda action: (-action.seconds, action.label))
    return _bars((action.label, action.seconds, duration(action.seconds)) for action in found[:_TOP])


def _cached(cached: Iterable[Action]) -> str:
    found = sorted(cached, key=lambda action: (-action.saved, action.label))
    more = f"<p>and {len(found) - _TOP} more</p>" if len(found) > _TOP else ""
    return _bars((action.label, action.saved, f"{duration(action.saved)} saved") for action in found[:_TOP]) + more


def _outputs(ran: Iterable[Action]) -> str:
    sizes = [(path, number) for action in ran for path, number in action.outputs.items()]
    found = sorted(sizes, key=lambda each: (-each[1], each[0]))
    return _bars((path, number, size(number)) for path, number in found[:_TOP])


def _bars(rows: Iterable[tuple[str, float, str]]) -> str:
    """Rows of a name, a quantity and its words, with a bar for the quantity; nothing for no rows."""
    found = list(rows)
    most = max((number for _, number, _ in found), default=0.0) or 1.0
    cells = "".join(
        f'<tr><td class="label">{escape(name)}</td><td class="share"><i style="width:{number / most * 100:.1f}%"></i></td>'
        f'<td class="number">{escape(words)}</td></tr>\n'
        for name, number, words in found
    )
    return f'<table class="bars">\n{cells}</table>' if found else ""


def _actions(actions: Sequence[Action]) -> str:
    head = "".join(f"<th{kind}>{name}</th>" for name, kind in _COLUMNS)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(map(_row, actions))}</tbody>\n</table></div>'


def _row(action: Action) -> str:
    did = action.status != "skipped"
    numbers = (
        duration(action.seconds) if did else "",
        size(action.peak_rss) if action.peak_rss else "",
        size(sum(action.outputs.values())) if action.outputs else "",
    )
    cells = "".join(f'<td class="number">{each}</td>' for each in numbers)
    status = escape(f"{action.status} on {action.host}" if action.host else action.status)
    return (
        f'<tr><td class="label">{escape(action.label)}</td><td>{escape(action.kind)}</td>'
        f'<td class="status {escape(action.status)}">{status}</td><td class="reason">{escape(action.reason)}</td>'
        f"{cells}<td>{escape(action.reproducible)}</td></tr>\n"
    )


_COLUMNS = (
    ("target", ""),
    ("action", ""),
    ("status", ""),
    ("reason", ""),
    ("time", ' class="number"'),
    ("peak memory", ' class="number"'),
    ("outputs", ' class="number"'),
    ("again", ' title="what doit verify found: how near the action comes to the same when it runs again"'),
)

_LEGEND = (
    '<p class="legend"><i class="built"></i>built <i class="cached"></i>from the cache <i class="failed"></i>failed'
    ' <i class="critical"></i>on the critical path</p>\n'
)

_GRAPH_NOTE = (
    "<p>What the build did something about, and what that was made of. Each target stands to the right of what it depends on;"
    " pointing at it shows more.</p>\n"
)

_STYLE = """
:root { --page: #f6f7f9; --card: #fff; --text: #1d2430; --faint: #667085; --line: #e3e7ee; --bar: #b9cdf5;
  --built: #3b6fd8; --cached: #2a9d74; --failed: #d0342c; --skipped: #98711a; --critical: #e0891b; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12151b; --card: #1a1f28; --text: #e2e7ef; --faint: #96a0b1; --line: #2b323e; --bar: #31456d;
    --built: #5c8af0; --cached: #3bb88b; --failed: #f0635a; --skipped: #d6a743; --critical: #f2a541; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 28px 24px 60px; background: var(--page); color: var(--text);
  font: 14px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; font-size: 22px; } h2 { margin: 0 0 10px; font-size: 15px; } p { margin: 0 0 10px; color: var(--faint); }
header p { margin: 4px 0 18px; overflow-wrap: anywhere; }
section, .tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
section { padding: 16px 18px; margin-top: 16px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(122px, 1fr)); gap: 12px; }
.tile { padding: 11px 12px; } .tile * { display: block; } .tile b { font-weight: 500; color: var(--faint); }
.tile strong { font-size: 19px; line-height: 1.5; font-weight: 650; white-space: nowrap; }
.tile span { font-size: 12px; color: var(--faint); }
strong.built { color: var(--built); } strong.cached { color: var(--cached); } strong.failed { color: var(--failed); }
strong.skipped { color: var(--skipped); } strong.none { color: var(--faint); }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 5px 0 12px; vertical-align: -1px; }
.legend i:first-child { margin-left: 0; }
i.built { background: var(--built); } i.cached { background: var(--cached); } i.failed { background: var(--failed); }
i.critical { border: 2px solid var(--critical); }
.timeline { display: block; overflow: visible; } .timeline line { stroke: var(--line); }
.timeline text { font-size: 12px; fill: #fff; } .timeline text.mark { fill: var(--faint); }
.bar rect { stroke: var(--card); }
.bar.built rect { fill: var(--built); } .bar.cached rect { fill: var(--cached); } .bar.failed rect { fill: var(--failed); }
.bar.critical rect { stroke: var(--critical); stroke-width: 5px; }
.picture { overflow: auto; max-height: 85vh; margin: -12px -18px -16px; }
.picture svg { display: block; margin-left: -6px; background: none; } .picture .card { fill: var(--card); }
.picture .critical .frame { stroke: var(--critical); }
code { font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; font-size: 12.5px; color: var(--text); }
table { width: 100%; border-collapse: collapse; } td, th { padding: 4px 14px 4px 0; text-align: left; vertical-align: top; }
th { color: var(--faint); font-weight: 500; border-bottom: 1px solid var(--line); } tbody tr + tr td { border-top: 1px solid var(--line); }
.label { font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; font-size: 12.5px; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; padding-right: 0; padding-left: 14px; }
.bars .label { width: 44%; } .bars .share { width: 44%; vertical-align: middle; } .share i { display: block; height: 10px; min-width: 1px;
  border-radius: 3px; background: var(--bar); }
.wide { overflow-x: auto; } .wide .label { min-width: 18em; }
.reason { color: var(--faint); white-space: pre-line; overflow-wrap: anywhere; min-width: 16em; }
.status.built { color: var(--built); } .status.cached { color: var(--cached); } .status.failed { color: var(--failed); }
.status.skipped { color: var(--skipped); }
"""
