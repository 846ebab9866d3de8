"""What a changed engine, a changed app and no change at all cost on the way into an image, beside BuildKit, buildah and skopeo.

    python benchmarks/images.py [--quick] [--json FILE] [--peers buildkit buildah skopeo]

An image of four layers: a base, middleware, an engine of 512 MiB of noise and an app. BuildKit and buildah get the same files by a
Dockerfile of as many COPY lines; skopeo copies our layout into Docker, which had the image before the app changed. Docker's daemon and a
registry are started for it, on sockets and ports of their own, and stopped. Before each measurement the first bytes of the engine, or the
app, are written anew.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from measure import Report, Row, Table, compare, interleaved, machine, parser, run

from enginewright.oci.layer import write_layer
from enginewright.oci.layout import write_image
from enginewright.oci.members import gather

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import dockerd
import registries

MIB = 1 << 20
IMAGE = "images/x:image"

FLOOR, LAYOUT, BUILD, PUSH = "SHA-256 of the engine", "layer and layout", "doit build", "doit push"
UPLOAD = "PUT of the layer, which was there"
LOADING, LOAD = "loading, within doit load", "doit load"
BUILDKIT, BUILDAH, SKOPEO = "BuildKit", "buildah", "skopeo"
PEERS = {"buildkit": ("dockerd", "docker", "ip"), "buildah": ("buildah",), "skopeo": ("skopeo", "dockerd", "docker", "ip")}
"""The peers, and the programs that each needs; BuildKit is the one in Docker's daemon, and skopeo copies into that."""

TO_FLOOR, TO_BUILDKIT, TO_BUILDAH, TO_PUSH, TO_SKOPEO = 1.15, 1 / 10, 1 / 20, 1 / 6, 1 / 25
ENGINE_READ, APP_READ = 3.5, 0.5
"""An engine that is a source is read for its digest, and its layer for that; for a changed app neither is. The rest is Python and the
workspace: next to nothing, but as much as the small engine of ``--quick``."""

SETTINGS = '[tool.doit]\nloader = "enginewright"\n\n[tool.enginewright]\nstore = "store"\n'
BUILD_FILE = """
from enginewright import files_layer, image

files_layer(name="base", files={"/usr/share/base": "base"})
files_layer(name="middleware", files={"/opt/middleware": "middleware"})
files_layer(name="engine", files={"/models/x.engine": "engine"})
files_layer(name="app", files={"/app/serve.py": "app"})
image(name="image", layers=[":base", ":middleware", ":engine", ":app"], cmd=["/app/serve.py"])
"""
DOCKERFILE = """
FROM scratch
COPY base /usr/share/base
COPY middleware /opt/middleware
COPY engine /models/x.engine
COPY app /app/serve.py
CMD ["/app/serve.py"]
"""


def main() -> None:
    """Measure and print."""
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--peers", nargs="*", choices=PEERS, help="which peers to run; left out, those that are installed")
    options = made.parse_args()
    peers = [peer for peer in PEERS if all(map(shutil.which, PEERS[peer]))] if options.peers is None else options.peers
    size, rounds = (32 if options.quick else 512) * MIB, 1 if options.quick else 5
    report = Report({**machine(), "engine": f"{size // MIB} MiB", "peers": ", ".join(peers) or "none"})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    with tempfile.TemporaryDirectory() as name, unmounted(Path(name)), ExitStack() as started:
        folder = Path(name)
        docker = started.enter_context(dockerd.engine(folder / "docker")) if {"buildkit", "skopeo"} & set(peers) else None
        registry = started.enter_context(registries.running(folder / "registry"))
        bench = Bench(folder, size, docker.environment if docker else {})
        bench.doit("build")  # the layers that do not change
        engine_changed(bench, registry, peers, rounds, report)
        report.add(bytes_read(bench, size))
        report.add(unchanged(bench, registry))
        if "skopeo" in peers:
            bench.doit("load", IMAGE)
            app = {LOADING: bench.loading, LOAD: bench.load, SKOPEO: bench.skopeo}
            report.add(compare("app changed: into Docker", interleaved(app, rounds), LOADING, {SKOPEO: TO_SKOPEO}))
    if options.json:
        report.write(options.json)


def engine_changed(bench: Bench, registry: registries.Registry, peers: list[str], rounds: int, report: Report) -> None:
    """A changed engine into a layout and into a registry."""
    engine = {FLOOR: bench.floor, LAYOUT: bench.layout, BUILD: lambda: bench.doit("build", IMAGE, changed="engine")}
    push = {
        PUSH: lambda: bench.doit("push", IMAGE, "--to", f"{registry.host}/ours:v1", changed="engine"),
        UPLOAD: lambda: bench.upload(registry.host),
    }
    if "buildkit" in peers:
        theirs = f"{registry.host}/theirs:v1"
        build = [dockerd.CLI, "build", "-q", "-t", theirs, "."]
        engine[BUILDKIT] = lambda: bench.shell(build, changed="engine")
        push[BUILDKIT] = lambda: bench.shell(build, [dockerd.CLI, "push", "-q", theirs], changed="engine")
    if "buildah" in peers:
        engine[BUILDAH] = lambda: bench.shell(*bench.buildah(), changed="engine")
    samples = interleaved(engine, rounds)
    targets = {BUILDKIT: TO_BUILDKIT, BUILDAH: TO_BUILDAH}
    for ours, other, aims in ((LAYOUT, BUILD, {FLOOR: TO_FLOOR, **targets}), (BUILD, LAYOUT, targets)):
        chosen = {name: each for name, each in samples.items() if name != other}
        report.add(compare(f"engine changed: {ours}", chosen, ours, aims))
    report.add(compare("engine changed: into a registry", interleaved(push, rounds), PUSH, {BUILDKIT: TO_PUSH}))


class Bench:
    """A workspace with the four layers, and the same files for peers, below a folder.

    ``size`` is the engine's, in bytes; ``docker`` are the variables of a process that is to talk to Docker.
    """

    def __init__(self, folder: Path, size: int, docker: Mapping[str, str]) -> None:
        self.context = folder / "workspace/images/x"
        self._root = folder / "workspace"
        self._scratch = folder / "scratch"
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(self._root), "LC_ALL": "C.UTF-8", "DOCKER_BUILDKIT": "1", **docker}
        self._numbers = count()
        self.context.mkdir(parents=True)
        for path, text in (
            ("dodo.py", ""),
            ("pyproject.toml", SETTINGS),
            ("images/x/BUILD.py", BUILD_FILE),
            ("images/x/Dockerfile", DOCKERFILE),
        ):
            (self._root / path).write_text(text)
        for name, length in (("base", size // 16), ("middleware", size // 4), ("engine", size), ("app", 4096)):
            with (self.context / name).open("wb") as file:
                for _ in range(0, length, MIB):
                    file.write(os.urandom(min(length, MIB)))

    def change(self, name: str) -> None:
        """Write the first bytes of a file anew."""
        with (self.context / name).open("r+b") as file:
            file.write(next(self._numbers).to_bytes(8, "big"))

    def floor(self) -> float:
        """One SHA-256 pass over the engine."""
        started, sha256 = time.perf_counter(), hashlib.sha256()
        with (self.context / "engine").open("rb", buffering=0) as file:
            while data := file.read(MIB):
                sha256.update(data)
        return time.perf_counter() - started

    def layout(self) -> float:
        """The engine's layer, and a layout over it and the other layers, as the actions of `files_layer` and `image` write them."""
        self.change("engine")
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        built = self._root / "build/images/x"
        started = time.perf_counter()
        outputs = {"layer": self._scratch / "layer", "descriptor": self._scratch / "descriptor"}
        layer = write_layer(outputs, gather({"/models/x.engine": self.context / "engine"}), "none")
        layers = [(json.loads((built / f"{name}.json").read_bytes()), built / f"{name}.tar") for name in ("base", "middleware", "app")]
        layers.insert(2, ({**layer.descriptor.to_json(), "diff_id": layer.diff_id}, outputs["layer"]))
        diff_ids = [descriptor.pop("diff_id") for descriptor, _ in layers]
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        write_image(self._scratch / "layout", config, layers, {})
        return time.perf_counter() - started

    def doit(self, *arguments: str, changed: str = "") -> float:
        """Run `doit`, after a file was changed."""
        if changed:
            self.change(changed)
        return run([_doit(), *arguments], self._root, self._environment).seconds

    def read_to_build(self) -> int:
        """Build the image, and return how many bytes `doit` read for that; its actions run below processes that it kills."""
        process = subprocess.Popen([_doit(), "build", IMAGE], cwd=self._root, env=self._environment, stdout=subprocess.DEVNULL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        counted = Path(f"/proc/{process.pid}/io").read_text().split()
        if process.wait() != 0:
            sys.exit("doit build failed")
        return int(counted[counted.index("rchar:") + 1])

    def report(self, *arguments: str) -> Any:
        """What a command says in JSON."""
        command = [_doit(), *arguments, "--json"]
        return json.loads(subprocess.run(command, cwd=self._root, env=self._environment, check=True, capture_output=True).stdout)

    def upload(self, host: str) -> float:
        """The seconds in which a registry takes the engine's layer, built anew, from a client that does nothing else."""
        self.doit("build", IMAGE, changed="engine")
        layer = self._root / "build/images/x/engine.tar"
        digest = json.loads(layer.with_suffix(".json").read_bytes())["digest"]
        with closing(http.client.HTTPConnection(host)) as connection, layer.open("rb") as file:
            started = time.perf_counter()
            connection.request("POST", "/v2/alone/blobs/uploads/")
            answer = connection.getresponse()
            answer.read()
            place = f"{answer.headers['Location']}&digest={digest}"
            connection.request("PUT", place, file, {"Content-Length": str(layer.stat().st_size)})
            assert connection.getresponse().status == 201
            return time.perf_counter() - started

    def shell(self, *commands: list[str], changed: str = "") -> float:
        """Run commands one after the other, after a file was changed."""
        if changed:
            self.change(changed)
        return sum(run(command, self.context, self._environment).seconds for command in commands)

    def loading(self) -> float:
        """Of the seconds that `doit load` takes after the app changed and was built, those for loading."""
        self.doit("build", IMAGE, changed="app")
        (found,) = self.report("load", IMAGE)
        assert found["sent_layers"] == 1, found
        return float(found["seconds"])

    def load(self) -> float:
        """The seconds of the whole command."""
        self.doit("build", IMAGE, changed="app")
        return self.doit("load", IMAGE)

    def skopeo(self) -> float:
        """The seconds that skopeo takes for the same."""
        self.doit("build", IMAGE, changed="app")
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-daemon-host", self._environment["DOCKER_HOST"]]
        return self.shell([*command, f"oci:{self._root / 'build' / IMAGE.replace(':', '/')}", "docker-daemon:bench:skopeo"])

    def buildah(self) -> list[list[str]]:
        """Build, and write a layout; with a store of its own."""
        shutil.rmtree(self._root / "layout", ignore_errors=True)
        base = ["buildah", "--root", str(self._root / "buildah"), "--runroot", str(self._root / "buildah-run")]
        return [
            [*base, "bud", "--isolation=chroot", "--layers", "-q", "-t", "x", "."],
            [*base, "push", "--disable-compression", "-q", "x", f"oci:{self._root / 'layout'}:x"],
        ]


def unchanged(bench: Bench, registry: registries.Registry) -> Table:
    """What a push costs when nothing changed."""
    arguments = ("push", IMAGE, "--to", f"{registry.host}/ours:v1")
    bench.report(*arguments)
    before = len(registry.requests())
    sent = float(str(bench.report(*arguments)["sent"]))
    asked = [request.partition(" ")[0] for request in registry.requests()[before:]]
    rows = [
        Row("bytes sent", [sent], target=0),
        Row("HEAD requests", [float(asked.count("HEAD"))], target=1),
        Row("other requests", [float(len(asked) - asked.count("HEAD"))], target=0),
    ]
    return Table("nothing changed: into a registry", "", rows)


def bytes_read(bench: Bench, size: int) -> Table:
    """What `doit build` reads by itself, for each byte of the engine, as the kernel counts it; its actions are not counted."""
    bench.doit("build")
    rows = []
    for changed, target in (("engine", ENGINE_READ), ("app", APP_READ)):
        bench.change(changed)
        rows.append(Row(f"{changed} changed", [bench.read_to_build() / size], target=target))
    return Table("bytes that doit reads for each byte of the engine", "x", rows)


@contextmanager
def unmounted(folder: Path) -> Iterator[None]:
    """Take away what is mounted below a folder in the end: buildah leaves some."""
    try:
        yield
    finally:
        mounts = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
            subprocess.run(["umount", mount], check=True)


def _doit() -> str:
    return str(Path(sys.executable).with_name("doit"))


if __name__ == "__main__":
    main()
