"""``doit pull``: an image from a registry into a folder."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.transfers import TRANSFER_OPTIONS, Transfers, check_transfer_options
from enginewright.doit_plugin.units import show_size
from enginewright.errors import ActionError, in_words

_OPT_TO = option("to", "", "the folder that becomes an image layout; one that is there already is brought up to date")
_OPT_PLATFORM = option(
    "platform",
    "",
    "of an image for several platforms, the one to pull, as linux/arm64, or all [default: linux on this machine's processor]",
)

_PROCESSORS = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class PullCommand(Command):
    """Pulls one image. Needs no workspace, and changes none."""

    name = "pull"
    doc_purpose = "pull an image from a registry into an image layout"
    doc_usage = "REGISTRY/NAME:TAG | REGISTRY/NAME@sha256:... --to FOLDER"
    doc_description = (
        "Fetches what the folder lacks, and goes on where an earlier pull was interrupted. All is checked against its digest. Prints the"
        " reference with the digest, as oci_base() takes it. Exit codes: 0 the folder has it, 1 it could not be pulled, 3 an error before"
        " anything was asked."
    )
    cmd_options = (_OPT_TO, _OPT_PLATFORM, *TRANSFER_OPTIONS, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Pull the one image in ``args``."""
        from enginewright.oci.pull import pull
        from enginewright.oci.registry.client import Client
        from enginewright.oci.registry.reference import Reference
        from enginewright.oci.registry.transport import Access

        if len(args) != 1 or not params["to"]:
            raise InvalidCommand("doit pull: say what and where to, as in: doit pull debian:bookworm-slim --to /tmp/debian")
        ca = check_transfer_options(params, "pull")
        try:
            reference = Reference.parse(args[0])
        except ValueError as error:
            raise InvalidCommand(str(error)) from None
        machine = platform.machine()
        chosen = {"": f"linux/{_PROCESSORS.get(machine, machine)}", "all": None}.get(params["platform"], params["platform"])
        started = time.monotonic()
        try:
            with closing(Transfers(sys.stderr)) as shown:
                client = Client(Access(params["plain_http"], ca), shown.note)
                pulled = pull(client, reference, Path(params["to"]), chosen, shown.watch, params["jobs"])
        except (ActionError, OSError) as error:
            reason = in_words(error, "make room there, and pull again") if isinstance(error, OSError) else error
            print(f"ERROR: {reason}", file=sys.stderr)
            return 1
        if params["json"]:
            facts = {
                "reference": str(pulled.reference),
                "digest": pulled.reference.digest,
                "layout": params["to"],
                "received": pulled.received,
                "blobs": pulled.outcomes,
                "seconds": round(time.monotonic() - started, 3),
            }
            print(json.dumps(facts, indent=1))
            return 0
        words = [f"{count} {outcome}" for outcome, count in sorted(Counter(pulled.outcomes.values()).items())]
        print(f"{pulled.reference} is in {params['to']} (blobs: {', '.join(words)}; {show_size(pulled.received)} received)")
        return 0
