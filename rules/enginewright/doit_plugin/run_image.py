"""``doit run-image``: one container of an image as it is declared now, in the foreground, and gone afterwards."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit.exceptions import InvalidCommand

from enginewright.daemon.client import connect
from enginewright.daemon.container import address, running, wait_until_healthy
from enginewright.daemon.load import load
from enginewright.doit_plugin.built import bring_up_to_date
from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.load import layout_of, names_of
from enginewright.doit_plugin.options import option
from enginewright.doit_plugin.session import user_errors
from enginewright.doit_plugin.transfers import Transfers
from enginewright.errors import ActionError
from enginewright.graph.label import Label
from enginewright.oci.layout import read_image

if TYPE_CHECKING:
    import docker

_OPTIONS = (
    option(
        "publish",
        [],
        "HOSTPORT:PORT, where on the loopback a port of the container is reachable; any free one, for those the image exposes",
        "p",
    ),
    option(
        "env",
        [],
        "a variable in the container: --env=NAME=VALUE, in one word, for doit takes a NAME=VALUE by itself for one of its own;"
        " or --env NAME for its value here; may be given several times",
    ),
    option(
        "health", "", "a path, as /healthz, that is answered once it serves; left out, the image's HEALTHCHECK is waited for, if it has one"
    ),
    option("timeout", 60, "seconds until it must serve (default: 60)"),
)
_GRACE_SECONDS = 5
"""For the container to stop by itself."""

_STOPPED = (130, 137, 143)
"""Exit codes of a container that was stopped: by SIGINT, SIGKILL or SIGTERM."""


class RunImageCommand(Command):
    """Builds an image, loads it into Docker, and runs it until Ctrl-C."""

    name = "run-image"
    doc_purpose = "build an image, load it into Docker and run it until Ctrl-C"
    doc_usage = "LABEL [-p HOSTPORT:PORT] [--env=NAME=VALUE] [--health PATH]"
    doc_description = (
        "Runs a container of the image, says where its ports are reachable (on the loopback), shows its log, and removes it at the end,"
        " also after Ctrl-C. What it must answer is declared by image_test(). Exit codes: that of the container, 0 where it was stopped,"
        " 1 where it could not be started or was not healthy in time, 130 after Ctrl-C, 3 an error before anything ran."
    )
    execute_tasks = True
    cmd_options = _OPTIONS

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the one image in ``args``."""
        if len(args) != 1 or ":" not in args[0]:
            raise InvalidCommand("doit run-image takes one label, as in: doit run-image images/classifier:image")
        if params["health"] and not params["health"].startswith("/"):
            raise InvalidCommand(f"--health {params['health']}: expected a path, as /healthz")
        if params["timeout"] < 1:
            raise InvalidCommand(f"--timeout {params['timeout']}: expected at least 1 second")
        published, env = _published(params["publish"]), _environment(params["env"])
        self.load_settings(params)
        label, layout = layout_of(args[0])
        names = names_of(label, [])
        # Whoever ends this process, or closes its terminal, ends the container with it.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            with user_errors(), connect() as client:
                if code := bring_up_to_date([label]):
                    return code
                return _run(client, label, layout, names, published, env, params)
        except ActionError as error:
            print(f"{label}: {error}", file=sys.stderr)
            return 1


def _run(
    client: docker.DockerClient, label: Label, layout: Path, names: list[str], published: dict[str, int], env: dict[str, str], params: Any
) -> int:
    """Load the image and run a container of it to its end; what the command is to return. Raises ActionError."""
    with closing(Transfers(sys.stderr)) as shown:
        image = load(client, layout, names, shown.watch).image
    settings = read_image(layout).config.get("config") or {}
    exposed = settings.get("ExposedPorts") or {}
    ports = sorted({*published, *(port if "/" in port else f"{port}/tcp" for port in exposed)})
    with running(client, image, ports, env, published=published, grace_seconds=_GRACE_SECONDS) as container:
        if ports or params["health"] or "Healthcheck" in settings:  # else it may have done its work and ended by now
            wait_until_healthy(container, _first(ports, params["health"]), params["health"], params["timeout"])
        for port in ports:
            host, number = address(container, port)
            print(f"{label}: {port} is {host}:{number}", file=sys.stderr, flush=True)
        try:
            for piece in container.logs(stream=True, follow=True):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
        except BrokenPipeError:  # as after `| head`
            return 0
        code = int(container.wait()["StatusCode"])
        if code and code not in _STOPPED:
            print(f"{label}: the container ended with exit code {code}", file=sys.stderr)
        return 0 if code in _STOPPED else code


def _first(ports: list[str], health: str) -> str:
    tcp = [port for port in ports if port.endswith("/tcp")]
    if health and not tcp:
        raise ActionError("the image exposes no TCP port to ask for its health: declare exposed_ports, or publish one with -p")
    return tcp[0] if tcp else ""


def _published(given: list[str]) -> dict[str, int]:
    """Ports of the container, as ``8000/tcp``, and those they are to have here."""
    found = {}
    for text in given:
        match = re.fullmatch(r"(\d{1,5}):(\d{1,5})(/tcp|/udp)?", text)
        if not match or not all(0 < int(number) < 65536 for number in match.groups()[:2]):
            raise InvalidCommand(f"--publish {text}: expected HOSTPORT:PORT, as 8080:8000")
        found[f"{match[2]}{match[3] or '/tcp'}"] = int(match[1])
    return found


def _environment(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, assigned, value = text.partition("=")
        if not name or (not assigned and name not in os.environ):
            raise InvalidCommand(f"--env {text}: expected NAME=VALUE, or the name of a variable that is set here")
        found[name] = value if assigned else os.environ[name]
    return found
