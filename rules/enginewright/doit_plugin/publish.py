"""``doit publish``: put a bundle or a model repository where servers find it."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.session import open_build, select, user_errors
from enginewright.doit_plugin.units import show_size
from enginewright.doit_plugin.why import OPT_JSON
from enginewright.errors import ActionError
from enginewright.execute.memory import open_snapshot

_OPT_TO = {
    "name": "to", "short": "", "long": "to", "type": str, "default": "",
    "help": "where: file:///FOLDER or s3://BUCKET/PREFIX",
}  # fmt: skip
_OPT_NO_LATEST = {
    "name": "no_latest", "short": "", "long": "no-latest", "type": bool, "default": False,
    "help": "put it there, and leave the pointer latest as it is",
}  # fmt: skip


class PublishCommand(Command):
    """Builds one target that makes a bundle, and publishes what it made."""

    name = "publish"
    doc_purpose = "put a model bundle or a Triton model repository into a folder or an S3 bucket"
    doc_usage = "LABEL --to file:///FOLDER | s3://BUCKET/PREFIX"
    doc_description = (
        "Builds the target, puts it into the folder sha256-DIGEST there, and then has the pointer `latest` name that folder: a symbolic"
        " link, or in a bucket an object. What is there already is not sent again. Keys for S3 come from AWS_ACCESS_KEY_ID and the other"
        " variables that tools for S3 read. Exit codes: 0 it is there, 1 it could not be built, 3 it could not be published."
    )
    execute_tasks = True
    cmd_options = (_OPT_TO, _OPT_NO_LATEST, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Publish the one target in ``args``."""
        from enginewright.bundle.destination import open_destination
        from enginewright.bundle.sums import SUMS, decode

        if len(args) != 1 or ":" not in args[0]:
            raise InvalidCommand("doit publish takes one label, as in: doit publish models/minilm:bundle --to file:///srv/models")
        if not params["to"]:
            raise InvalidCommand("doit publish: say where with --to file:///FOLDER or --to s3://BUCKET/PREFIX")
        self.load_settings(params)
        with user_errors():
            destination = open_destination(params["to"], os.environ)
        code, folder = _built(args[0])
        if code:
            return code
        progress = _Progress()
        try:
            with user_errors():
                bundle = decode((folder / SUMS).read_bytes(), str(folder / SUMS))
                published = destination.publish(folder, bundle, progress)
                if not params["no_latest"]:
                    destination.point(bundle)
        except ActionError as error:
            raise InvalidCommand(str(error)) from None
        finally:
            progress.clear()
        if params["json"]:
            digest = bundle.name.replace("-", ":", 1)
            print(json.dumps({"label": args[0], "digest": digest, "latest": not params["no_latest"], **vars(published)}, indent=1))
            return 0
        print(f"{args[0]}: {published.place}")
        counts = f"copied there {published.copied}, there already {published.there}"
        latest = "latest was left as it is" if params["no_latest"] else "it is latest now"
        print(f"sent {published.sent} files, {show_size(published.bytes_sent)}; {counts}; {latest}")
        return 0


def _built(text: str) -> tuple[int, Path]:
    """Bring a target up to date, and return the exit code of that, and the folder it makes."""
    from enginewright.doit_plugin.execution import build_selection

    root = Path.cwd()
    looked = open_build(root, look_only=True)
    (label,) = select(looked, [text])
    action = looked.graph.targets[label].action
    if action is None or "bundle" not in action.outputs:
        kind = looked.graph.targets[label].kind
        raise InvalidCommand(f"{label} is a {kind}, which makes no bundle: name a model_bundle() or a model_repository()")
    options = {"num_process": os.cpu_count() or 1, "verbose": False, "json": False, "continue": False}
    with redirect_stdout(sys.stderr):  # standard output is for what was published
        code = build_selection([text], options, open_snapshot(root), time.monotonic())
    return code, Path(action.outputs["bundle"].path)


class _Progress:
    """A line on the terminal that says what is being sent; nothing where there is no terminal."""

    def __init__(self) -> None:
        self._shown = ""

    def __call__(self, name: str, done: int, size: int) -> None:
        text = f"{name}: {show_size(done)} of {show_size(size)}"
        if sys.stderr.isatty() and text != self._shown:
            self._shown = text
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
