"""What a warm worker saves: an export to ONNX in a fork of a process that has exported before, against one in a fresh process.

    python benchmarks/exports.py [--quick] [--json FILE]

The same action runs both ways, in turn, on the example models; what it writes must be the same bytes.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from measure import Report, Samples, compare, interleaved, machine, parser

from enginewright.doit_plugin.session import open_build
from enginewright.execute.installation import Installation
from enginewright.execute.local import Executor, Input
from enginewright.graph.dag import Target
from enginewright.graph.key import material
from enginewright.graph.label import Label
from enginewright.store.content import ContentStore
from enginewright.store.digest import file_digest
from enginewright.workspace.sources import locate

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("efficientnet_lite0", "minilm")
TARGET = 0.35


def main() -> None:
    """Measure, print, and write."""
    options = parser("The cost of an export in a warm and in a fresh process.").parse_args()
    graph = open_build(ROOT, look_only=True).graph
    report = Report(machine())
    for model in MODELS[:1] if options.quick else MODELS:
        target = graph.targets[Label(f"models/{model}", "onnx")]
        report.add(compare(f"export of {model}", exports(target, rounds=1 if options.quick else 5), "warm", {"fresh": TARGET}, 1, "s"))
    if options.json:
        report.write(options.json)


def exports(target: Target, rounds: int) -> Samples:
    """Seconds of each way, round by round. The warm process has exported once before the first round."""
    action = target.action
    assert action is not None
    places = {name: locate(ROOT, artifact) for name, artifact in action.inputs.items()}
    inputs = {name: Input(place, file_digest(place)) for name, place in places.items()}
    covered = material(action, inputs={name: each.digest for name, each in inputs.items()}, code={}, toolchain={}, platform="")
    with tempfile.TemporaryDirectory() as folder:
        store = ContentStore(Path(folder, "store"))
        executor = Executor(ROOT, store, Installation())
        digests = set()

        def export(fresh: bool) -> float:
            started = perf_counter()
            way = replace(action, warm_up=None) if fresh else action
            with executor.run(target.label, way, covered.key(), covered, inputs, Path(folder, "log")) as result:
                digests.add(tuple(output.digest for output in result.outputs.values()))
            return perf_counter() - started

        try:
            export(fresh=False)
            samples = interleaved({"warm": lambda: export(fresh=False), "fresh": lambda: export(fresh=True)}, rounds)
        finally:
            executor.stop()
            executor.close()
            store.close()
    if len(digests) > 1:
        sys.exit(f"{target.label}: the two ways give different bytes")
    return samples


if __name__ == "__main__":
    if not (ROOT / "build/models/minilm/weights.safetensors").exists():
        sys.exit("the checkpoints are not built: run `doit build` first")
    main()
