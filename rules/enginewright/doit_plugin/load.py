"""``doit load``: build an image, and have Docker know it: only the layers that it lacks."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.daemon.client import connect
from enginewright.daemon.load import Loaded, load
from enginewright.daemon.names import full_name
from enginewright.doit_plugin.built import bring_up_to_date, outputs_of
from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.session import user_errors
from enginewright.doit_plugin.transfers import Transfers
from enginewright.doit_plugin.units import show_size
from enginewright.errors import ActionError
from enginewright.graph.label import Label
from enginewright.oci.layout import read_images

_OPT_TAG = option("tag", [], "NAME:TAG, what Docker is to call the image, instead of its label; may be given several times", "t")
IMAGES = ("layout", "base")
"""The outputs that are images."""
WHAT = "image that Docker could load"


class LoadCommand(Command):
    """Builds what is named, and brings it into the Docker Engine."""

    name = "load"
    doc_purpose = "build images and load them into Docker: only layers that it lacks"
    doc_usage = "LABEL | PACKAGE [--tag NAME:TAG]"
    doc_description = (
        "Builds the images that are named, and brings them into the Docker Engine of DOCKER_HOST or of the current docker context. Layers"
        " that the Engine has from any image, with all below them, are not sent again. Docker calls an image by its label, as"
        " images/classifier:image, unless --tag says otherwise. Exit codes: 0 all is there, 1 something could not be built or loaded,"
        " 3 an error before anything ran."
    )
    execute_tasks = True
    cmd_options = (_OPT_TAG, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Load the images that ``args`` select."""
        if not args:
            raise InvalidCommand("doit load: say what, as in: doit load images/classifier:image")
        self.load_settings(params)
        layouts = outputs_of(args, IMAGES, WHAT)
        if params["tag"] and len(layouts) > 1:
            raise InvalidCommand(f"--tag: {len(layouts)} images are selected, and only one can have a name: name one of them")
        names = {label: names_of(label, params["tag"]) for label in layouts}
        done: list[dict[str, Any]] = []
        code = 0
        label = next(iter(layouts))
        try:
            with user_errors(), connect() as client, closing(Transfers(sys.stderr)) as shown:
                if code := bring_up_to_date(layouts):
                    return code
                for label, layout in layouts.items():
                    if str(label) not in args and (count := len(read_images(layout))) > 1:
                        print(f"left out {label}: it is an index of {count} images", file=sys.stderr)
                        continue
                    started = time.monotonic()
                    loaded = load(client, layout, names[label], shown.watch)
                    shown.close()
                    seconds = time.monotonic() - started
                    if not params["json"]:
                        print(told(label, names[label], loaded, seconds), flush=True)
                    done.append({"label": str(label), "names": names[label], **loaded._asdict(), "seconds": round(seconds, 3)})
        except ActionError as error:
            print(f"{label}: {error}", file=sys.stderr)
            code = 1
        if params["json"]:
            print(json.dumps(done, indent=1))
        return code


def names_of(label: Label, given: list[str]) -> list[str]:
    """What Docker is to call an image. Raises InvalidCommand for what it would not take."""
    try:
        return [full_name(each) for each in given] or [full_name(str(label))]
    except ValueError as error:
        raise InvalidCommand(f"{error}{'' if given else '; this is its label: give it another with --tag'}") from None


def told(label: Label, names: list[str], loaded: Loaded, seconds: float) -> str:
    """What was done, on one line."""
    took = f"{loaded.sent_layers} of {loaded.layers} layers sent, {show_size(loaded.sent_bytes)}, {seconds:.2f} s"
    what = took if loaded.sent_bytes else "Docker had it"
    return f"{label}: {what}, as {', '.join(names)}{f' ({loaded.whole})' if loaded.whole else ''}"


def layout_of(text: str) -> tuple[Label, Path]:
    """The one image that a label names, and where its layout is. Raises InvalidCommand where it names none, or several."""
    layouts = outputs_of([text], IMAGES, WHAT)
    if len(layouts) != 1:
        raise InvalidCommand(f"{text}: {len(layouts)} images are selected: name one of them ({', '.join(map(str, list(layouts)[:8]))})")
    return next(iter(layouts.items()))
