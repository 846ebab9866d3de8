"""What the graph costs: the same graph in make, ninja, doit, SCons, Bazel, DVC and Enginewright, side by side.

    python benchmarks/graph.py [--quick] [--json FILE]

Five actions a model, each as good as nothing (`peers`), so that what is measured is the tool. Peers that are not installed
are left out. Folders are made below TMPDIR: have it on the disk that matters. Bazel counts as warm: its server is up and
has the graph in memory, the others start from nothing each time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

import peers
from measure import Report, Row, Samples, Table, compare, interleaved, machine, paired, parser
from peers import Project

from enginewright.store.digest import CHUNK, file_digest, file_digests

OURS = "enginewright"
AUDIT = "audit hook alone"
"""Ours, with actions that are not kept in namespaces."""

INSTALL = {
    "make": "apt-get install make",
    "ninja": "apt-get install ninja-build",
    "scons": "apt-get install scons",
    "bazel": "apt-get install bazel-bootstrap",
    "dvc": "pip install dvc, in a virtual environment of its own whose bin folder is added to PATH",
}
"""The peers that are programs of their own, and where to have them from."""

TOOLS: Mapping[str, Callable[[Path, Sequence[str], int], Project]] = {
    "enginewright": peers.enginewright,
    "shell": peers.shell,
    "make": peers.make,
    "ninja": peers.ninja,
    "doit": peers.doit,
    "scons": peers.scons,
    "bazel": peers.bazel,
    "dvc": peers.dvc,
    AUDIT: partial(peers.enginewright, sandbox="audit"),
}
OTHERS = ("shell", AUDIT)
"""What is compared and is no peer: the actions without any tool, and what the sandbox costs, in first builds."""

SLOW = ("dvc",)
"""Run once, with up to 1,000 actions, and not at all in a quick run."""

Projects = Mapping[str, Project]


def main() -> None:
    """Measure, print, and write."""
    options = parser("The cost of the graph, the store and hashing, against other tools.")
    known = [name for name in TOOLS if name not in (OURS, *OTHERS)]
    options.add_argument("--actions", type=int, nargs="+", metavar="N", default=[1_000, 10_000], help="how many [default: 1000 10000]")
    options.add_argument("--peers", nargs="*", choices=known, default=known, help="only these")
    arguments = options.parse_args()
    quick = arguments.quick
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that Bazel's server is stopped then too
    chosen = [OURS, *OTHERS, *(name for name in arguments.peers if _there(name, quick))]
    jobs = os.cpu_count() or 1
    report = Report({**machine(), "peers": ", ".join(map(_version, chosen[1 + len(OTHERS) :])), "actions at a time": jobs})
    with tempfile.TemporaryDirectory(prefix="graph-") as folder:
        for actions in [50] if quick else arguments.actions:
            names = [name for name in chosen if name not in (*SLOW, AUDIT) or actions <= 1_000]
            with projects(Path(folder, str(actions)), names, actions, jobs) as found:
                if actions <= 1_000:
                    first_build(report, found, rounds=1 if quick else 5)
                    found = {name: project for name, project in found.items() if name != AUDIT}
                    restore(report, found, rounds=2 if quick else 5)
                up_to_date(report, found, rounds=3 if quick else 15)
                one_change(report, found, rounds=2 if quick else 9)
        hashing(report, Path(folder), size=(64 if quick else 1024) << 20, rounds=3 if quick else 15, threads=min(jobs, 4))
    if arguments.json:
        report.write(arguments.json)


@contextmanager
def projects(folder: Path, names: Sequence[str], actions: int, jobs: int) -> Iterator[Projects]:
    """A project a tool, not built yet. What they leave running is stopped at the end."""
    models = [f"models/m{i:04}" for i in range(actions // len(peers.STEPS))]
    made: dict[str, Project] = {}
    try:
        for name in names:
            for model in models:
                place = folder / name / model
                place.mkdir(parents=True)
                (place / "weights").write_text(f"weights of {model}\n", encoding="utf-8")
                (place / "net.py").write_text("def build(): ...\n", encoding="utf-8")
            made[name] = TOOLS[name](folder / name, models, jobs)
        yield made
    finally:
        for project in made.values():
            if project.stop:
                project.run(project.stop)
        shutil.rmtree(folder)


def first_build(report: Report, found: Projects, rounds: int) -> None:
    """Everything, from nothing, and what of it is overhead."""

    def build(project: Project) -> float:
        project.reset()
        return project.run(project.command).seconds

    samples = interleaved({name: partial(build, project) for name, project in found.items()}, rounds, SLOW)
    count = _count(found)
    report.add(compare(f"first build of {count} actions", samples, OURS, {}, scale=1e3 / count, unit="ms an action"))
    title = "the same, beyond what the actions take in a shell"
    report.add(compare(title, _beyond(samples), OURS, {"doit": 1.0} if count == 1_000 else {}, scale=1e3 / count, unit="ms an action"))


def restore(report: Report, found: Projects, rounds: int) -> None:
    """All outputs deleted, and taken from where the tool keeps copies."""

    def take(project: Project) -> float:
        project.delete_outputs()
        return project.run(project.restore).seconds

    able = {name: project for name, project in found.items() if project.restore}
    for project in able.values():
        if project.keep:
            project.reset()
            project.run(project.keep)
    samples = interleaved({name: partial(take, project) for name, project in able.items()}, rounds, SLOW)
    count = _count(found)
    report.add(compare(f"{count} deleted outputs restored", samples, OURS, {"bazel": 0.1} if count == 1_000 else {}))


def up_to_date(report: Report, found: Projects, rounds: int) -> None:
    """Nothing to do."""
    _settle(found)
    tools = {name: project for name, project in found.items() if name != "shell"}
    samples = interleaved({name: partial(_build, project) for name, project in tools.items()}, rounds, SLOW)
    count = _count(found)
    full = count == 10_000
    report.add(compare(f"nothing to do, {count} actions", samples, OURS, {"ninja": 2.5, "bazel": 0.6} if full else {}))
    ours = found[OURS]
    peaks = [ours.run(ours.command).peak_rss / 1e6 for _ in range(3)]
    report.add(Table("the same, peak memory", "MB", [Row(OURS, peaks, target=120 if full else None)]))


def one_change(report: Report, found: Projects, rounds: int) -> None:
    """One model's weights changed, to what they never were before; and what is overhead."""
    _settle(found)
    versions = iter(range(1_000_000))

    def change(project: Project) -> float:
        project.write_weights(project.models[0], f"version {next(versions)}")
        seconds = project.run(project.change or project.command).seconds
        _settle({project.tool: project})
        return seconds

    samples = interleaved({name: partial(change, project) for name, project in found.items()}, rounds, SLOW)
    count = _count(found)
    report.add(compare(f"one weights file changed, {count} actions", samples, OURS, {}))
    targets = {"ninja": 2.5, "bazel": 0.8} if count == 10_000 else {}
    report.add(compare("the same, beyond what the 5 actions take in a shell", _beyond(samples), OURS, targets))


def hashing(report: Report, folder: Path, size: int, rounds: int, threads: int) -> None:
    """Digests of files that are in memory, against reading them."""
    paths = [folder / f"checkpoint{i}" for i in range(threads)]
    for path in paths:
        block = os.urandom(CHUNK)
        with open(path, "wb") as file:
            for _ in range(size // CHUNK):
                file.write(block)
        _read(path)
    one = paths[0]

    def timed(work: Callable[[], object]) -> float:
        started = perf_counter()
        work()
        return perf_counter() - started

    def together(work: Callable[[Path], object]) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, paths))

    works: dict[str, Callable[[], object]] = {
        "XXH3-128": partial(file_digest, one),
        "reading alone": partial(_read, one),
        "SHA-256 and XXH3-128 in one pass": partial(file_digests, one),
        "SHA-256 alone": partial(_sha256, one),
        f"XXH3-128, {threads} files at once": partial(together, file_digest),
        f"reading alone, {threads} files at once": partial(together, _read),
    }
    samples = interleaved({name: partial(timed, work) for name, work in works.items()}, rounds)
    rows = []
    # 90 % of the speed is 1/0.9 of the time.
    for ours, other, target in zip(list(works)[::2], list(works)[1::2], (1.11, None, 1.11) if size == 1 << 30 else (None, None, None)):
        rows += [
            Row(ours, [1e3 * each for each in samples[ours]]),
            Row(other, [1e3 * each for each in samples[other]], paired(samples, ours, other), target),
        ]
    report.add(Table(f"files of {size >> 20} MiB, in memory", "ms", rows))


def _build(project: Project) -> float:
    return project.run(project.command).seconds


def _settle(found: Projects) -> None:
    """Build until there is nothing left to do, nor to take note of."""
    for name, project in found.items():
        if name != "shell":
            for _ in range(1 if name in SLOW else 2):
                project.run(project.command)


def _beyond(samples: Samples) -> Samples:
    """What is left without what the same actions take in a shell; not less than 0.1 ms, which is noise."""
    return {
        name: [max(total - alone, 1e-4) for total, alone in zip(values, samples["shell"])]
        for name, values in samples.items()
        if name != "shell"
    }


def _count(found: Projects) -> int:
    return len(found[OURS].outputs)


def _read(path: Path) -> None:
    buffer = bytearray(CHUNK)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _sha256(path: Path) -> str:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _there(name: str, quick: bool) -> bool:
    if name in INSTALL and shutil.which(name) is None:
        print(f"{name} is left out, for it is not installed: {INSTALL[name]}")
        return False
    if quick and name in SLOW:
        print(f"{name} is left out, for it is slow: run without --quick")
        return False
    return True


def _version(name: str) -> str:
    if name == "doit":
        commands = [[sys.executable, "-m", "doit", "--version"]]
    else:
        commands = [[name, "--version"], ["dpkg-query", "-W", INSTALL[name].split()[-1]]]  # Debian's bazel says "no_version"
    printed = "".join(subprocess.run(command, capture_output=True, text=True).stdout for command in commands if shutil.which(command[0]))
    found = re.search(r"\d+(\.\d+)+", printed)
    return f"{name} {found[0]}" if found else name


if __name__ == "__main__":
    main()
