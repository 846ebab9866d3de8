"""How long it takes to bring a changed image into Docker: with `doit load`, and with skopeo.

    python benchmarks/docker_load.py [--quick] [--json FILE]

An image of three layers, of which the uppermost, a file of an app, changes each round; then both bring the same image into the same
Docker Engine, which is started for this and had the image before the change. Needs root, dockerd, docker and skopeo.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Report, Run, compare, interleaved, machine, parser, run

BUILD = """
from enginewright import files_layer, image

for name in ("base", "model", "app"):
    files_layer(name=name, files={f"/{name}": f"{name}.bin"})
image(name="image", layers=[":base", ":model", ":app"])
"""
IMAGE = "images/bench:image"
ENGINE = "skopeo copy to docker-daemon:"
LOAD, COMMAND = "loading, within doit load", "doit load, the whole command"
TARGETS = {ENGINE: 1 / 25}


class Bench:
    """A workspace with the image, and an Engine that had it once."""

    def __init__(self, folder: Path, host: str, megabytes: int) -> None:
        self._root = folder / "workspace"
        self._host = host
        self._env = {**os.environ, "DOCKER_HOST": host, "ENGINEWRIGHT_STORE": str(folder / "store"), "DOCKER_CONFIG": str(folder)}
        package = self._root / "images/bench"
        package.mkdir(parents=True)
        (self._root / "dodo.py").touch()
        (self._root / "pyproject.toml").write_text('[tool.doit]\nloader = "enginewright"\n')
        (package / "BUILD.py").write_text(BUILD)
        for name, share in (("base", 3), ("model", 1)):
            with (package / f"{name}.bin").open("wb") as file:
                for _ in range(megabytes * share // 4):
                    file.write(os.urandom(1 << 20))
        self._app = package / "app.bin"
        self._changes = 0
        self.change()
        self.load()

    def change(self) -> None:
        """Edit the app, and build the image anew."""
        self._changes += 1
        self._app.write_text(f"version {self._changes}\n" * 1000)
        self._doit("build", IMAGE)

    def load(self) -> float:
        """Seconds that `doit load` takes, process start and the look at what is up to date included."""
        return self._doit("load", "--json", IMAGE).seconds

    def loading(self) -> float:
        """Of the seconds that `doit load` takes after a change, those for loading."""
        self.change()
        done = subprocess.run([_doit(), "load", "--json", IMAGE], cwd=self._root, env=self._env, capture_output=True, text=True, check=True)
        (found,) = json.loads(done.stdout)
        assert found["sent_layers"] == 1, found
        return float(found["seconds"])

    def whole(self) -> float:
        """The seconds of the whole command after a change."""
        self.change()
        return self.load()

    def skopeo(self) -> float:
        """The seconds that skopeo takes after a change."""
        self.change()
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-daemon-host", self._host]
        return run([*command, f"oci:build/{IMAGE.replace(':', '/')}", "docker-daemon:bench:skopeo"], self._root, self._env).seconds

    def _doit(self, *arguments: str) -> Run:
        return run([_doit(), *arguments], self._root, self._env)


def _doit() -> str:
    return str(Path(sys.executable).parent / "doit")


@contextmanager
def engine(folder: Path) -> Iterator[str]:
    """A Docker Engine with all it has below ``folder``; its address."""
    host = f"unix://{folder}/sock"
    command = ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid", "--host", host]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([*command, "--bridge=none", "--iptables=false", "--ip6tables=false"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "--host", host, "version"], capture_output=True).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"dockerd did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield host
    finally:
        process.terminate()
        process.wait()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (mount := line.split(" ")[1]).startswith(f"{folder}/"):
                subprocess.run(["umount", "--lazy", mount], check=False)


def main() -> None:
    options = parser(__doc__.partition("\n")[0]).parse_args()
    if missing := [name for name in ("dockerd", "docker", "skopeo") if shutil.which(name) is None]:
        sys.exit(f"{missing[0]} is not installed")
    megabytes, rounds = (64, 2) if options.quick else (1024, 7)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "docker").mkdir()
        with engine(folder / "docker") as host:
            report = Report({**machine(), "image": f"{megabytes} MiB in two layers, and an app of some kB on top"})
            bench = Bench(folder, host, megabytes)
            samples = interleaved({LOAD: bench.loading, COMMAND: bench.whole, ENGINE: bench.skopeo}, rounds)
            report.add(compare("app file changed: into Docker", samples, LOAD, TARGETS))
            if options.json:
                report.write(options.json)


if __name__ == "__main__":
    main()
