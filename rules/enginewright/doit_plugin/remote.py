"""``doit remote``: whether what is set up beyond this machine works."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import CACHE_OPTIONS, EXECUTOR_OPTIONS, OPT_JSON, option
from enginewright.doit_plugin.remote_settings import read_remote
from enginewright.doit_plugin.session import user_errors
from enginewright.doit_plugin.shared_cache import access_of
from enginewright.workspace.settings import read_settings
from enginewright.workspace.shared_cache import CacheSettings

if TYPE_CHECKING:
    from enginewright.remote.checks import Step

_OPT_PROPERTY = option(
    "property", [], "describe a worker with this platform property, as --property=gpu-arch=sm_90; may be given several times"
)

_WORDS = {True: "ok", False: "FAILED", None: "-"}


class RemoteCommand(Command):
    """Tries, a step at a time, what a build would rely on."""

    name = "remote"
    doc_purpose = "whether the shared cache and the remote executor work"
    doc_usage = "check | describe"
    doc_description = (
        "check tries the remote cache that the settings, the environment or the options name, a step at a time: whether it is there and"
        " lets us in, what it can do, and whether it gives back what it took; then the remote executor, and a worker of each kind that"
        " the actions for it ask for: one more action has it say what it is, and it is compared with what action keys name."
        " describe prints what a worker with these platform properties is, for the setting workers. Exit codes: 0 all works, 1 a step"
        " failed, 3 nothing is set up, or not as it should be."
    )
    cmd_options = (*CACHE_OPTIONS, *EXECUTOR_OPTIONS, _OPT_PROPERTY, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the subcommand that ``args`` name and return the exit code."""
        if args not in (["check"], ["describe"]):
            raise InvalidCommand(f"doit remote: expected check or describe, got {' '.join(args) or 'nothing'}")
        self.loader.setup(params)
        root = Path.cwd()
        if args == ["describe"]:
            print(_describe(root, params, params["property"]), end="")
            return 0
        with user_errors():
            _, settings = read_remote(root, read_settings(root).remote, params)
            if not settings.url:
                raise InvalidCommand(
                    "no remote cache is set up: give --remote-cache=URL, set ENGINEWRIGHT_REMOTE_CACHE, or write"
                    ' cache = "URL" below [tool.enginewright.remote] in pyproject.toml (docs/remote.md)'
                )
            steps = []
            for step in _steps(root, settings, params):
                steps.append(step)
                if not params["json"]:
                    print(f"{_WORDS[step.good]:8}{step.name:12}{_took(step)}{step.text}", flush=True)
        if params["json"]:
            json.dump({"cache": settings.url, "mode": settings.mode, "steps": [step._asdict() for step in steps]}, sys.stdout, indent=1)
            print()
        return int(any(step.good is False for step in steps))


def _describe(root: Path, params: Any, properties: list[str]) -> str:
    from enginewright.doit_plugin.workers import describe_worker

    for each in properties:
        if not each.partition("=")[0] or "=" not in each:
            raise InvalidCommand(f"doit remote describe: expected --property=NAME=VALUE, as --property=gpu-arch=sm_90, got {each!r}")
    with user_errors():
        return describe_worker(root, params, dict(each.split("=", 1) for each in properties))


def _steps(root: Path, settings: CacheSettings, params: Any) -> Iterator[Step]:
    """All steps, those of the executor when those of the cache, on which it works, are good."""
    from enginewright.doit_plugin.workers import worker_steps

    good = True
    for step in _cache_steps(settings):
        good = good and step.good is not False
        yield step
    if good:
        yield from worker_steps(root, params)


def _cache_steps(settings: CacheSettings) -> Iterator[Step]:
    from enginewright.remote.address import parse
    from enginewright.remote.connect import adapter_for

    address = parse(settings.url)
    access = access_of(settings)
    adapter = adapter_for(address, access, settings.timeout)
    from enginewright.remote.checks import Step, check_cache

    shown = [what for what, given in (("a token", access.token), ("a client certificate", access.certificate)) if given]
    yield Step("settings", True, f"{address}, {settings.mode}, shown to it: {' and '.join(shown) or 'nothing'}")
    try:
        yield from check_cache(adapter, settings.mode != "write", settings.mode != "read")
    finally:
        adapter.close()


def _took(step: Step) -> str:
    return f"{step.seconds * 1000:.0f} ms, " if step.good is not None and step.seconds else ""
