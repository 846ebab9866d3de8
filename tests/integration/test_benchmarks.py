from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockerd import missing
from registries import need

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_graph_benchmark_runs_and_writes_what_it_measured(tmp_path: Path) -> None:
    out = tmp_path / "graph.json"
    command = [sys.executable, BENCHMARKS / "graph.py", "--quick", "--json", out, "--peers", "make", "ninja", "doit"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(out.read_text())
    assert {"date", "machine", "python", "peers"} <= written.keys()
    titles = [table["title"] for table in written["tables"]]
    assert "nothing to do, 50 actions" in titles
    for table in written["tables"]:
        assert table["title"] in done.stdout
        assert all(row["samples"] and row["median"] > 0 for row in table["rows"])


def test_large_benchmark_runs_and_meets_its_targets(tmp_path: Path) -> None:
    out = tmp_path / "large.json"
    done = subprocess.run([sys.executable, BENCHMARKS / "large.py", "--quick", "--json", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(row["met"] for table in json.loads(out.read_text())["tables"] for row in table["rows"]), done.stdout


def test_images_benchmark_runs_and_sends_nothing_when_nothing_changed(tmp_path: Path) -> None:
    need("docker-registry")
    need("buildah")
    need("skopeo")
    if reason := missing():
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    out = tmp_path / "images.json"
    command = [sys.executable, BENCHMARKS / "images.py", "--quick", "--json", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = {table["title"]: {row["name"]: row for row in table["rows"]} for table in json.loads(out.read_text())["tables"]}
    assert {"SHA-256 of the engine", "layer and layout", "BuildKit", "buildah"} == tables["engine changed: layer and layout"].keys()
    assert {"doit push", "PUT of the layer, which was there", "BuildKit"} == tables["engine changed: into a registry"].keys()
    assert {"loading, within doit load", "doit load", "skopeo"} == tables["app changed: into Docker"].keys()
    assert all(row["met"] for row in tables["nothing changed: into a registry"].values())


def test_remote_benchmark_runs_and_fetches_nothing_that_is_not_needed(tmp_path: Path) -> None:
    out = tmp_path / "remote.json"
    done = subprocess.run([sys.executable, BENCHMARKS / "remote.py", "--quick", "--json", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = {table["title"]: table["rows"] for table in json.loads(out.read_text())["tables"]}
    assert {"upload, 16 MiB", "download, to a file, 16 MiB", "asking for a result", "100 hits, nothing fetched"} <= tables.keys()
    assert tables["a fresh clone, 1 of 10 models changed: fetched"][0]["median"] == 0
