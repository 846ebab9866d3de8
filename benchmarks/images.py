"""What a changed engine and no change at all cost on the way into an image, beside BuildKit and buildah.

    python benchmarks/images.py [--quick] [--json FILE] [--peers buildkit buildah]

An image of four layers: a base, middleware, an engine of 512 MiB of noise and an app. Peers get the same files by a Dockerfile of as many
COPY lines. Docker's daemon and registries are started for it, on sockets and ports of their own, and stopped. Before each measurement the
first bytes of the engine are written anew. How long it takes beside skopeo to bring a changed app into Docker is in docker_load.py: that
needs neither a registry nor an engine of this size, but an Engine that has the image already.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from measure import Report, Row, Table, compare, interleaved, machine, parser, run

from enginewright.oci.layer import write_layer
from enginewright.oci.layout import write_image
from enginewright.oci.members import gather

MIB = 1 << 20
IMAGE = "images/x:image"

FLOOR, LAYOUT, BUILD, PUSH = "SHA-256 of the engine", "layer and layout", "doit build", "doit push"
BUILDKIT, BUILDAH = "BuildKit", "buildah"
PEERS = {"buildkit": "dockerd", "buildah": "buildah"}
"""The peers, and the program that each needs; BuildKit is the one in Docker's daemon."""

TO_FLOOR, TO_BUILDKIT, TO_BUILDAH, TO_PUSH = 1.15, 1 / 10, 1 / 20, 1 / 6
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
REGISTRY = "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\nhttp: {{addr: {host}}}\n"


def main() -> None:
    """Measure and print."""
    made = parser(__doc__.splitlines()[0])
    made.add_argument("--peers", nargs="*", choices=PEERS, help="which peers to run; left out, those that are installed")
    options = made.parse_args()
    peers = [peer for peer in PEERS if shutil.which(PEERS[peer])] if options.peers is None else options.peers
    size, rounds = (32 if options.quick else 512) * MIB, 1 if options.quick else 5
    report = Report({**machine(), "engine": f"{size // MIB} MiB", "peers": ", ".join(peers) or "none"})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    with tempfile.TemporaryDirectory() as folder, unmounted(Path(folder)), ExitStack() as started:
        bench = Bench(Path(folder), size)
        docker = started.enter_context(daemon(Path(folder, "docker"))) if "buildkit" in peers else None
        registry = started.enter_context(serving(Path(folder, "registry")))
        bench.doit("build")  # the layers that do not change
        engine = {FLOOR: bench.floor, LAYOUT: bench.layout, BUILD: lambda: bench.doit("build", IMAGE, changed="engine")}
        push = {PUSH: lambda: bench.doit("push", IMAGE, "--to", f"{registry.host}/ours:v1", changed="engine")}
        if docker:
            engine[BUILDKIT] = lambda: bench.shell(docker.build(bench.context, "x"), changed="engine")
            theirs = f"{registry.host}/theirs:v1"
            push[BUILDKIT] = lambda: bench.shell(docker.build(bench.context, theirs), docker.push(theirs), changed="engine")
        if "buildah" in peers:
            engine[BUILDAH] = lambda: bench.shell(*bench.buildah(), changed="engine")
        samples = interleaved(engine, rounds)
        targets = {BUILDKIT: TO_BUILDKIT, BUILDAH: TO_BUILDAH}
        for ours, other, aims in ((LAYOUT, BUILD, {FLOOR: TO_FLOOR, **targets}), (BUILD, LAYOUT, targets)):
            chosen = {name: each for name, each in samples.items() if name != other}
            report.add(compare(f"engine changed: {ours}", chosen, ours, aims))
        report.add(bytes_read(bench, size))
        report.add(compare("engine changed: into a registry", interleaved(push, rounds), PUSH, {BUILDKIT: TO_PUSH}))
        report.add(unchanged(bench, registry))
    if options.json:
        report.write(options.json)


class Bench:
    """A workspace with the four layers, and the same files for peers, below a folder. ``size`` is the engine's, in bytes."""

    def __init__(self, folder: Path, size: int) -> None:
        self.context = folder / "workspace/images/x"
        self._root = folder / "workspace"
        self._scratch = folder / "scratch"
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

    def doit(self, *arguments: str, changed: str = "", **environment: str) -> float:
        """Run `doit`, after a file was changed."""
        if changed:
            self.change(changed)
        return run([_doit(), *arguments], self._root, {**_environment(self._root), **environment}).seconds

    def read_to_build(self) -> int:
        """Build the image, and return how many bytes `doit` read for that; its actions run below processes that it kills."""
        process = subprocess.Popen([_doit(), "build", IMAGE], cwd=self._root, env=_environment(self._root), stdout=subprocess.DEVNULL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        counted = Path(f"/proc/{process.pid}/io").read_text().split()
        if process.wait() != 0:
            sys.exit("doit build failed")
        return int(counted[counted.index("rchar:") + 1])

    def report(self, *arguments: str) -> dict[str, object]:
        """What a command says in JSON."""
        command = [_doit(), *arguments, "--json"]
        done = subprocess.run(command, cwd=self._root, env=_environment(self._root), check=True, capture_output=True)
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def shell(self, *commands: list[str], changed: str) -> float:
        """Run commands one after the other, after a file was changed."""
        self.change(changed)
        return sum(run(command, self.context, {**_environment(self._root), "DOCKER_BUILDKIT": "1"}).seconds for command in commands)

    def buildah(self) -> list[list[str]]:
        """Build, and write a layout; with a store of its own."""
        shutil.rmtree(self._root / "layout", ignore_errors=True)
        base = ["buildah", "--root", str(self._root / "buildah"), "--runroot", str(self._root / "buildah-run")]
        return [
            [*base, "bud", "--isolation=chroot", "--layers", "-q", "-t", "x", "."],
            [*base, "push", "--disable-compression", "-q", "x", f"oci:{self._root / 'layout'}:x"],
        ]


class Docker:
    """A daemon that listens on ``host``."""

    def __init__(self, host: str) -> None:
        self.host = host

    def build(self, context: Path, tag: str) -> list[str]:
        """The command that builds an image."""
        return ["/usr/bin/docker", "-H", self.host, "build", "-q", "-t", tag, str(context)]

    def push(self, tag: str) -> list[str]:
        """The command that pushes it."""
        return ["/usr/bin/docker", "-H", self.host, "push", "-q", tag]


class Registry:
    """A registry at ``host``, which logs to a file."""

    def __init__(self, host: str, log: Path) -> None:
        self.host = host
        self._log = log

    def requests(self) -> list[str]:
        """The methods of the requests that it answered so far."""
        return [line.split('"')[1].split(" ")[0] for line in self._log.read_text().splitlines() if ' HTTP/1.1" ' in line]


def unchanged(bench: Bench, registry: Registry) -> Table:
    """What a push costs when nothing changed."""
    arguments = ("push", IMAGE, "--to", f"{registry.host}/ours:v1")
    bench.report(*arguments)
    before = len(registry.requests())
    sent = float(str(bench.report(*arguments)["sent"]))
    asked = registry.requests()[before:]
    rows = [
        Row("bytes sent", [sent], target=0),
        Row("HEAD requests", [float(asked.count("HEAD"))], target=1),
        Row("other requests", [float(sum(method not in ("HEAD",) for method in asked))], target=0),
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
    """Take away what is mounted below a folder in the end: buildah and Docker leave some."""
    try:
        yield
    finally:
        mounts = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
            subprocess.run(["umount", mount], check=True)


@contextmanager
def daemon(folder: Path) -> Iterator[Docker]:
    """Docker's daemon, with all it has below ``folder``."""
    folder.mkdir()
    host = f"unix://{folder}/sock"
    command = ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid", "-H", host]
    command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    with background(
        command, folder / "log", lambda: subprocess.run(["/usr/bin/docker", "-H", host, "version"], capture_output=True).returncode == 0
    ):
        yield Docker(host)


@contextmanager
def serving(folder: Path) -> Iterator[Registry]:
    """A registry on loopback, with all it has below ``folder``."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "config.yml").write_text(REGISTRY.format(root=folder / "data", host=host))

    def answers() -> bool:
        with suppress(urllib.error.URLError), urllib.request.urlopen(f"http://{host}/v2/"):
            return True
        return False

    with background(["docker-registry", "serve", str(folder / "config.yml")], folder / "log", answers):
        yield Registry(host, folder / "log")


@contextmanager
def background(command: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    """Run a program until the context is left; it has a minute to be ready."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "OTEL_TRACES_EXPORTER": "none"})
    try:
        until = time.monotonic() + 60
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def _doit() -> str:
    return str(Path(sys.executable).with_name("doit"))


def _environment(home: Path) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}


if __name__ == "__main__":
    main()
