"""Timing side by side, and reporting what came out: what the benchmarks share.

Absolute times say more about the machine than about the program. So everything that is compared runs in turn, round after
round, and a ratio is the median over the rounds of the ratios within one round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Samples = Mapping[str, Sequence[float]]
"""What was measured, a value a round, by what it was measured of."""


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        "--quick", action="store_true", help="small sizes and few rounds, for under a minute: shows that it works, not how fast"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="also write every measurement to FILE")
    return made


class Run(NamedTuple):
    """One run of a command: wall time in seconds, process start included, and its largest resident set in bytes."""

    seconds: float
    peak_rss: int


def run(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Run:
    """Run a command that must succeed; otherwise exits with the end of what it printed."""
    with tempfile.TemporaryFile() as printed:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            printed.seek(0)
            sys.exit(f"{' '.join(command)}: exit status {process.returncode}\n{printed.read().decode(errors='replace')[-2000:]}")
    return Run(seconds, usage.ru_maxrss * 1024)


def interleaved(tasks: Mapping[str, Callable[[], float]], rounds: int, once: Collection[str] = ()) -> dict[str, list[float]]:
    """What each task returns, round by round. Each round begins with another task; tasks in ``once`` are in the first round only."""
    samples: dict[str, list[float]] = {name: [] for name in tasks}
    names = list(tasks)
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            if i == 0 or name not in once:
                os.sync()  # so that no fsync waits for what another task wrote
                samples[name].append(tasks[name]())
    return samples


def paired(samples: Samples, name: str, against: str) -> float:
    """The median of the ratios of ``name`` to ``against``, round by round."""
    return statistics.median(a / b for a, b in zip(samples[name], samples[against]))


@dataclass(frozen=True)
class Row:
    """One line of a table. ``ratio`` is ours to this row's; ``target`` is the most it may be, or, without a ratio, the value."""

    name: str
    samples: Sequence[float]
    ratio: float | None = None
    target: float | None = None

    @property
    def value(self) -> float:
        """The median of the samples."""
        return statistics.median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else (self.value if self.ratio is None else self.ratio) <= self.target


@dataclass(frozen=True)
class Table:
    """Rows of values in one unit."""

    title: str
    unit: str
    rows: Sequence[Row]

    def __str__(self) -> str:
        """As a Markdown table that can also be read as it is."""
        lines = [(self.title, f"median, {self.unit}", "range", "ours / this", "target", "")]
        for row in self.rows:
            lines.append(
                (
                    row.name,
                    _short(row.value),
                    f"{_short(min(row.samples))} - {_short(max(row.samples))}" if len(row.samples) > 1 else "",
                    "" if row.ratio is None else _short(row.ratio),
                    "" if row.target is None else f"<= {row.target:g}",
                    {True: "met", False: "NOT met", None: ""}[row.met],
                )
            )
        widths = [max(len(line[i]) for line in lines) for i in range(6)]
        text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
        return "\n".join([text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]])


def compare(title: str, samples: Samples, ours: str, targets: Mapping[str, float], scale: float = 1e3, unit: str = "ms") -> Table:
    """A table of ``samples`` (seconds), ours first, with paired ratios of ours to the others."""
    rows = [Row(ours, [scale * each for each in samples[ours]])]
    for name in samples:
        if name != ours:
            rows.append(Row(name, [scale * each for each in samples[name]], paired(samples, ours, name), targets.get(name)))
    return Table(title, unit, rows)


@dataclass
class Report:
    """Prints tables as they are done, and keeps them for `write`."""

    conditions: Mapping[str, Any]
    tables: list[Table] = field(default_factory=list)

    def __post_init__(self) -> None:
        print("\n".join(f"{name}: {value}" for name, value in self.conditions.items()))

    def add(self, table: Table) -> None:
        """Print a table."""
        self.tables.append(table)
        print(f"\n{table}", flush=True)

    def write(self, path: Path) -> None:
        """Write all that was measured as JSON."""
        tables = [
            {"title": table.title, "unit": table.unit, "rows": [{**asdict(row), "median": row.value, "met": row.met} for row in table.rows]}
            for table in self.tables
        ]
        path.write_text(json.dumps({**self.conditions, "tables": tables}, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """When and where this runs."""
    model = next((line.partition(": ")[2].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine())
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "machine": f"{os.cpu_count()} x {model}, {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 30} GiB, {platform.system()}",
        "python": platform.python_version(),
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
