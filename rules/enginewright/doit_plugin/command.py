"""What our commands have in common: options may stand after labels, and doit's own plugins are left alone."""

from __future__ import annotations

import getopt
import re
import signal
import sys
from typing import Any

from doit.cmd_base import DoitCmdBase
from doit.cmdparse import CmdParseError

from enginewright.doit_plugin.loader import WorkspaceLoader
from enginewright.doit_plugin.pipes import tell_unwritten

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""


class Ended(KeyboardInterrupt):
    """A signal that ends a command as Ctrl-C does, with all put away: a CI system's or a closed terminal's. Its argument is the number."""


class Command(DoitCmdBase):  # type: ignore[misc]  # doit has no type information
    """A command over the workspace's targets."""

    base_options = ()

    def __init__(self, task_loader: Any, **kwargs: Any) -> None:
        # Without [tool.doit] loader in pyproject.toml doit has another loader; this command needs ours.
        super().__init__(task_loader if isinstance(task_loader, WorkspaceLoader) else WorkspaceLoader(), **kwargs)

    def parse_execute(self, in_args: list[str]) -> int:
        """Run with a command line in which, as people type, options may also stand after labels."""
        if {"-h", "--help"} & set(in_args):
            print(self.help())
            return 0
        try:
            options, labels = getopt.gnu_getopt(in_args, self.cmdparser.get_short(), self.cmdparser.get_long())
        except getopt.GetoptError as error:
            raise CmdParseError(f"{error}; '{self.bin_name} help {self.name}' lists the options") from None
        arguments = []
        for flag, value in options:
            takes = self.cmdparser.get_option(flag)[0].type
            if takes is int and not re.fullmatch(r"-?\d+", value):
                raise CmdParseError(f"{flag} {value}: expected a whole number")
            arguments += [flag] if takes is bool else [flag, value]
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:  # and not one that nohup has the command not hear
                signal.signal(number, _end)
        try:
            code = int(super().parse_execute([*arguments, "--", *labels]))
        except KeyboardInterrupt as by:
            code = interrupted(by)
        return 3 if tell_unwritten() else code

    def load_settings(self, params: Any) -> None:
        """Load dodo.py, and give the options what it sets. Raises doit's InvalidDodoFile."""
        self.loader.setup(params)
        params.update_defaults(self.loader.load_doit_config())
        self.check_minversion(params.get("minversion"))

    def get_backends(self) -> dict[str, Any]:
        """None: these commands do not offer the choice, and looking for plugins takes time."""
        return {}


def _end(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)  # who sends it again wants no waiting
    raise Ended(number)


def interrupted(by: KeyboardInterrupt) -> int:
    """Say so, and return the exit code."""
    print("interrupted", file=sys.stderr)
    return 128 + int(by.args[0]) if isinstance(by, Ended) else INTERRUPTED
