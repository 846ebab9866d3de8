"""``doit publish``: put a bundle or a model repository where servers find it."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.built import bring_up_to_date, outputs_of
from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.session import user_errors
from enginewright.doit_plugin.units import show_size
from enginewright.errors import ActionError, WorkspaceError, in_words

_OPT_TO = option("to", "", "where: file:///FOLDER or s3://BUCKET/PREFIX")
_OPT_NO_LATEST = option("no-latest", False, "put it there, and leave the pointer latest as it is")


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
        ((label, folder),) = outputs_of(args, ("bundle",), "bundle: name a model_bundle() or a model_repository()").items()
        if code := bring_up_to_date([label]):
            return code
        progress = _Progress()
        try:
            bundle = decode((folder / SUMS).read_bytes(), str(folder / SUMS))
            published = destination.publish(folder, bundle, progress)
            if not params["no_latest"]:
                destination.point(bundle)
        except (ActionError, WorkspaceError) as error:
            raise InvalidCommand(str(error)) from None
        except OSError as error:
            raise InvalidCommand(in_words(error, "make room there, and publish again")) from None
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
