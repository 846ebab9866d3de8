"""image_test(): a container of an image is started, and answers as declared."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, ClassVar

from enginewright.daemon import client, container
from enginewright.daemon.checks import CommandCheck, HttpCheck, ask, execute
from enginewright.daemon.load import load
from enginewright.errors import ActionError, WorkspaceError
from enginewright.graph.action import NETWORK_VARIABLES, Action
from enginewright.graph.attributes import AttributeProblem, Needs, check_least, check_source
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration
from enginewright.oci.layout import canonical_json

_ANSWER_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class ImageTest(Rule):
    """A container of ``image``, started by Docker, that is healthy within ``timeout`` seconds and then passes all ``checks``, in order.

    It is healthy when a GET of ``health`` on ``port`` is answered; with ``health=""``, when the image's HEALTHCHECK says so, or when it
    runs. ``env`` are variables in it. Checks are made by http_check() and command_check(). The report lists what was checked; a test that
    has passed is not run again until the image or the test changes. The container is always removed. Where Docker is not running, the
    test is skipped.
    """

    kind: ClassVar[str] = "image_test"
    provides: ClassVar[Mapping[str, str]] = {"report": ".json"}

    image: Annotated[Label, Needs("base", "layout")]
    port: int = 8000
    health: str = "/healthz"
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: int = 60
    checks: tuple[HttpCheck | CommandCheck, ...]

    def check(self) -> None:
        if not 0 < self.port < 65536:
            raise AttributeProblem("port", f"{self.port} is no port: expected 1 to 65535")
        if self.health and not self.health.startswith("/"):
            raise AttributeProblem("health", f"expected a path, as '/healthz', got {self.health!r}")
        check_least("timeout", self.timeout, 1, "second")
        if not self.checks:
            raise AttributeProblem("checks", "is empty: what does the image do? Check it, as with http_check('/healthz')")
        for number, each in enumerate(self.checks):
            where = f"checks[{number}]"
            if isinstance(each, HttpCheck) and not each.path.startswith("/"):
                raise AttributeProblem(where, f"expected a path, as '/predict', got {each.path!r}")
            if isinstance(each, HttpCheck) and each.body:
                check_source(each.body, where)
            if isinstance(each, HttpCheck) and not _is_json(each.json):
                raise AttributeProblem(where, f"json is no JSON: {each.json!r}")
            if isinstance(each, CommandCheck) and not each.command:
                raise AttributeProblem(where, "a command is missing, as in command_check('python3', '--version')")

    def action(self, context: Context) -> Action:
        provided = context.outputs(self.image)
        bodies = {each.body: context.source(each.body) for each in self.checks if isinstance(each, HttpCheck) and each.body}
        return Action(
            mnemonic="ImageTest",
            run="enginewright.rules.image_test:test",
            inputs={
                "image": provided["base" if "base" in provided else "layout"],
                **{f"body/{name}": source for name, source in bodies.items()},
            },
            outputs={"report": context.output(self.provides["report"])},
            params={
                "port": self.port,
                "health": self.health,
                "env": self.env,
                "timeout": self.timeout,
                "checks": tuple(asdict(each) for each in self.checks),
            },
            packages=("docker", "zstandard"),
            requires={"network": "yes", "docker": "yes"},
            environment=(*NETWORK_VARIABLES, *client.VARIABLES),
        )


image_test = declaration(ImageTest)


def test(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Run the test. Raises ActionError with the first check that fails, and where Docker fails."""
    checks: Sequence[Mapping[str, Any]] = params["checks"]
    port = f"{params['port']}/tcp"
    signal.signal(signal.SIGTERM, _stop)  # the build was interrupted: the container must go first
    most = params["timeout"] + _ANSWER_SECONDS * len(checks) + 60
    try:
        with client.connect() as docker:
            loaded = load(docker, inputs["image"], ())
            with container.running(docker, loaded.image, [port], params["env"], most_seconds=most) as started:
                container.wait_until_healthy(started, port, params["health"], params["timeout"])
                for check in checks:
                    if "command" in check:
                        execute(started, check)
                    else:
                        body = inputs[f"body/{check['body']}"].read_bytes() if check["body"] else b""
                        ask(container.address(started, port), started, check, body, _ANSWER_SECONDS)
    except WorkspaceError as error:
        raise ActionError(str(error)) from None
    outputs["report"].write_bytes(canonical_json({"image": loaded.image, "passed": checks}))


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
