"""A burst of commits: what becomes of many builds that are submitted at once to an executor with two workers.

    python benchmarks/burst.py [--quick] [--json FILE] [--builds N]

Each build is a `doit build` of its own, in a clone with a store of its own, of actions that two GPUs of different architectures are
needed for, half of them each. One action of a build is its own, as of a commit; the others are those of all builds. The engine is the
one of the tests, BuildGrid over PostgreSQL, and so are the workers, whose GPUs are pretended. What ran, where, and when, is by the
workers' own notes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from measure import Report, Row, Table, machine, parser

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reapi import engine as reapi

ARCHS = ("sm_75", "sm_80")
KEEPALIVE = 60
"""Seconds after which the engine takes a silent worker for dead, as in deploy/: on a machine with so much to do, one may well be silent."""
SETTINGS = """[tool.doit]
loader = "enginewright"

[tool.enginewright]
store = "store"

[tool.enginewright.remote]
executor = "grpc://{address}"
"""
BUILD = """
from enginewright import python_action

for n in range({actions}):
    python_action(name=f"a{{n}}", function="make.py:make", inputs={{"in": "commit.txt" if n == 0 else "common.txt"}},
                  outputs={{"out": "out.txt"}}, params={{"n": n}}, requires={{"gpu": ("sm_75", "sm_80")[n % 2]}})
"""
MAKE = """
def make(inputs, outputs, params):
    outputs["out"].write_text(f"{params['n']} {inputs['in'].read_text()}")
"""


def make(root: Path, build: int, actions: int, address: str) -> None:
    """The workspace of a build."""
    package = root / "models/x"
    package.mkdir(parents=True)
    (root / "dodo.py").touch()
    (root / "pyproject.toml").write_text(SETTINGS.format(address=address))
    (package / "BUILD.py").write_text(BUILD.format(actions=actions))
    (package / "make.py").write_text(MAKE)
    (package / "common.txt").write_text("common\n")
    (package / "commit.txt").write_text(f"{build}\n")


def wrong(root: Path, build: int, actions: int) -> int:
    """How many outputs of a build are missing, or are not what they are to be."""
    found = [root / f"build/models/x/a{n}/out.txt" for n in range(actions)]
    wanted = [f"{n} {'common' if n else build}\n" for n in range(actions)]
    return sum(not path.is_file() or path.read_text() != text for path, text in zip(found, wanted))


def overlaps(spans: Iterable[reapi.Span]) -> int:
    """How many of a worker's actions began before the one before had ended."""
    return sum(later.begin < earlier.end for earlier, later in pairwise(sorted(spans, key=lambda span: span.begin)))


def start(root: Path) -> subprocess.Popen[bytes]:
    """A build, running."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), "LC_ALL": "C.UTF-8"}
    with open(root / "log", "wb") as log:
        command = [str(Path(sys.executable).with_name("doit")), "build", "-n", "1"]
        return subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)


def failures(running: Sequence[subprocess.Popen[bytes]], roots: Sequence[Path]) -> int:
    """Wait for all builds; how many failed. What the first of these said is printed."""
    failed = [root for process, root in zip(running, roots) if process.wait() != 0]
    if failed:
        print((failed[0] / "log").read_text()[-2000:], file=sys.stderr)
    return len(failed)


def main() -> None:
    """Measure, print, and write."""
    offered = parser("A burst of builds submitted at once to an executor with two workers.")
    offered.add_argument("--builds", type=int, metavar="N", default=200, help="how many, each of 20 actions [default: %(default)s]")
    options = offered.parse_args()
    builds, actions = (6, 5) if options.quick else (options.builds, 20)
    if why := reapi.missing():
        sys.exit(why)
    distinct = builds + actions - 1
    report = Report({**machine(), "burst": f"{builds} builds of {actions} actions, {distinct} of them distinct; 2 workers"})
    properties = [{"gpu_arch": arch} for arch in ARCHS]
    with reapi.running(properties, KEEPALIVE) as engine, tempfile.TemporaryDirectory(prefix="burst-") as folder:
        roots = [Path(folder, str(build)) for build in range(builds)]
        for build, root in enumerate(roots):
            make(root, build, actions, engine.address)
        began = time.monotonic()
        failed = failures([start(root) for root in roots], roots)
        seconds = time.monotonic() - began
        ran = {name: worker.ran() for name, worker in engine.workers.items()}
        misplaced = sum(wrong(root, build, actions) for build, root in enumerate(roots))
    times = Counter(span.action for spans in ran.values() for span in spans)
    rows = [
        Row("builds that failed", [failed], target=0),
        Row("outputs that are wrong or missing", [misplaced], target=0),
        Row("actions that ran more than once", [sum(count > 1 for count in times.values())], target=0),
        Row("actions that no worker ran", [distinct - len(times)], target=0),
        Row("actions that a worker began while it had another", [sum(map(overlaps, ran.values()))], target=0),
    ]
    report.add(Table("what became of them", "", rows))
    busy = [sum(span.end - span.begin for span in spans) / seconds for spans in ran.values()]
    rows = [Row("from the first submitted to the last ended", [seconds]), Row("an action on a worker", _lengths(ran.values()))]
    report.add(Table("time", "s", rows))
    report.add(Table("share of the time that a worker had an action", "", [Row("workers", busy)]))
    if options.json:
        report.write(options.json)


def _lengths(ran: Iterable[Iterable[reapi.Span]]) -> list[float]:
    return [span.end - span.begin for spans in ran for span in spans]


if __name__ == "__main__":
    main()
