"""What large files cost: how often a checkpoint is read to be hashed, and what memory a large output takes.

    python benchmarks/large.py [--quick] [--json FILE]

A checkpoint of 10 GB that three actions have as an input, and an action that writes 5 GB. What is read is counted by the kernel
(``rchar`` in /proc/PID/io, which has the processes that ended below it too). The actions themselves read nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from measure import Report, Row, Table, machine, parser, run

CONSUMERS = 3
MEMORY_TARGET = 200
"""MB that the orchestrator may take."""
ONCE, NEVER = 1.1, 0.1
"""Bytes read for each byte of the checkpoint. The rest is Python and the workspace."""

SETTINGS = '[tool.doit]\nloader = "enginewright"\n\n[tool.enginewright]\nstore = "store"\n'
BUILD = """
from enginewright import python_action

for n in range({consumers}):
    python_action(name=f"consumer{{n}}", function="net.py:look", inputs={{"weights": "weights.bin"}}, outputs={{"out": "out"}})
python_action(name="large", function="net.py:write", outputs={{"out": "out"}}, params={{"bytes": {output}}})
"""
NET = """
def look(inputs, outputs, params):
    outputs["out"].write_text(str(inputs["weights"].stat().st_size))


def write(inputs, outputs, params):
    with outputs["out"].open("wb") as out:
        for number in range(params["bytes"] >> 20):
            out.write(number.to_bytes(8, "big") * (1 << 17))
"""


class Workspace(NamedTuple):
    """A workspace with one large source; sizes are in bytes."""

    root: Path
    size: int

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.root), "LC_ALL": "C.UTF-8"}

    def read_to_build(self, *labels: str) -> float:
        """Build, and return the bytes that were read for each byte of the source."""
        process = subprocess.Popen([_doit(), "build", *labels], cwd=self.root, env=self.environment, stdout=subprocess.DEVNULL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        counted = Path(f"/proc/{process.pid}/io").read_text().split()
        if process.wait() != 0:
            sys.exit(f"doit build {' '.join(labels)}: exit status {process.returncode}")
        return int(counted[counted.index("rchar:") + 1]) / self.size


def main() -> None:
    """Measure, print, and write."""
    options = parser("What large files cost.").parse_args()
    size = 1 << 28 if options.quick else 10_000_000_000
    report = Report({**machine(), "checkpoint": f"{size / 1e9:.1f} GB, input of {CONSUMERS} actions", "output": f"{size / 2e9:.1f} GB"})
    with tempfile.TemporaryDirectory(prefix="large-") as folder:
        workspace = make(Path(folder), size)
        consumers = [f"models/x:consumer{n}" for n in range(CONSUMERS)]
        rows = [Row("first build", [workspace.read_to_build(*consumers)], target=ONCE)]
        rows.append(Row("nothing to do", [workspace.read_to_build(*consumers)], target=NEVER))
        os.utime(workspace.root / "models/x/weights.bin")
        rows.append(Row("after touch", [workspace.read_to_build(*consumers)], target=ONCE))
        rows.append(Row("nothing to do, after that", [workspace.read_to_build(*consumers)], target=NEVER))
        report.add(Table("bytes read for each byte of the checkpoint", "x", rows))
        peak = run([_doit(), "build"], workspace.root, workspace.environment).peak_rss / 1e6
        rows = [Row("enginewright", [peak], target=MEMORY_TARGET)]
        report.add(Table("peak memory of a build that stores and places the output", "MB", rows))
    if options.json:
        report.write(options.json)


def make(root: Path, size: int) -> Workspace:
    """The workspace, with a checkpoint of ``size`` bytes."""
    package = root / "models/x"
    package.mkdir(parents=True)
    (root / "dodo.py").touch()
    (root / "pyproject.toml").write_text(SETTINGS)
    (package / "BUILD.py").write_text(BUILD.format(consumers=CONSUMERS, output=size // 2))
    (package / "net.py").write_text(NET)
    with (package / "weights.bin").open("wb") as file:
        for number in range(size // 1_000_000):
            file.write(number.to_bytes(8, "big") * 125_000)
    return Workspace(root, size)


def _doit() -> str:
    return str(Path(sys.executable).with_name("doit"))


if __name__ == "__main__":
    main()
