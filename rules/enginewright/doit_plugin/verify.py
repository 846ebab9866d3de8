"""``doit verify``: build targets again, and say how near they come to what they were."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from doit.exceptions import InvalidCommand

from enginewright.compare.verdict import BIT, CLASSES, NONE, NUMERICAL
from enginewright.doit_plugin.build import OPT_PROCESSES
from enginewright.doit_plugin.built import bring_up_to_date
from enginewright.doit_plugin.command import Command, interrupted
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.progress import Colour, Progress, is_live
from enginewright.doit_plugin.session import lock, open_build, select, user_errors
from enginewright.errors import ActionError, WorkspaceError, in_words
from enginewright.execute.build import Build
from enginewright.execute.locked import Pin
from enginewright.execute.memory import STATE
from enginewright.execute.outcome import Status
from enginewright.graph.label import Label
from enginewright.release.verify import Verified, as_json, keep, verify

_SHOWN = 8
"""How many differences of an output are shown; --json and the report have more."""

IN_PLACE = {"remote_download": "all"}
"""What is compared must be here, whatever cache it comes from: options of `doit build`."""

_COLOURS = {BIT: Colour.GREEN, NUMERICAL: Colour.YELLOW, NONE: Colour.RED}

_OPT_DEPS = option("deps", False, "also build again all that the targets depend on")
OPT_REQUIRE = option(
    "require",
    NUMERICAL,
    "the least that is asked of every target, or the exit code is 1 [default: %(default)s]",
    choices=((BIT, "the same bytes"), (NUMERICAL, "or the same within tolerance"), (NONE, "anything that builds")),
)


@dataclass
class Verification:
    """What came of verifying a selection: by label what was found, why something failed, and why something was left out.

    ``before`` are the classes of what was left out because it had been verified before.
    """

    found: dict[Label, Verified] = field(default_factory=dict)
    failed: dict[Label, str] = field(default_factory=dict)
    skipped: dict[Label, str] = field(default_factory=dict)
    before: dict[Label, str] = field(default_factory=dict)

    def below(self, least: str) -> dict[Label, str]:
        """The targets whose class is worse than ``least``, and that class."""
        classes = {**self.before, **{label: each.reproducible for label, each in self.found.items()}}
        return {label: each for label, each in classes.items() if CLASSES.index(each) > CLASSES.index(least)}


class VerifyCommand(Command):
    """Brings targets up to date, and runs their actions once more where nothing of what was built before can help."""

    name = "verify"
    doc_purpose = "build targets again without any cache, and say how near they come to what they were"
    doc_usage = "[LABEL | PACKAGE | PACKAGE/... ...]"
    doc_description = (
        "Builds what is not up to date, as doit build does; then runs each target's action again, on the same inputs, in a clean sandbox"
        " with an empty store, and compares: bit, the same bytes; numerical, other bytes that compute the same within tolerance; none. What"
        " differs is shown by tensor, node, section, or entry of a layer. The class is kept in the store; doit list --all and doit report"
        " show it. Exit codes: 0 all are as good as --require, 1 one is not, or its action failed; 3 an error before anything ran."
    )
    execute_tasks = True
    cmd_options = (OPT_PROCESSES, _OPT_DEPS, OPT_REQUIRE, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Verify what ``args`` select."""
        started = time.monotonic()
        self.load_settings(params)
        if params["num_process"] < 1:
            raise InvalidCommand(f"-n {params['num_process']}: at least one action must run at a time")
        out = sys.stderr if params["json"] else sys.stdout
        if code := bring_up_to_date(args, num_process=params["num_process"], **IN_PLACE):
            return code
        try:
            done = verify_selection(args, params["num_process"], params["deps"], out)
        except KeyboardInterrupt as by:
            return interrupted(by)
        seconds = time.monotonic() - started
        if params["json"]:
            print(json.dumps(_as_json(done, seconds), indent=1))
        print(summary_of(done, seconds), file=out)
        return 1 if done.failed or done.below(params["require"]) else 0


def verify_selection(
    args: Sequence[str], processes: int, deps: bool, out: TextIO, pins: Mapping[str, Pin] | None = None, again: bool = True
) -> Verification:
    """Verify the targets that ``args`` select, which are up to date; with ``deps``, those they depend on too.

    What ``pins`` has is taken as it is there. Without ``again``, what was verified before is not built once more.
    Raises doit's InvalidCommand where one that is named cannot be built here, and KeyboardInterrupt once all is cleaned up.
    """
    root = Path.cwd()
    with lock(root):
        build = open_build(root, processes=processes, options=IN_PLACE, pins=pins)
        done = Verification()
        try:
            chosen = build.graph.unfold(select(build, args))
            wanted = build.graph.closure(chosen)
            with user_errors():
                if unbuilt := build.pending(wanted):
                    raise InvalidCommand(f"{unbuilt[0]} is not up to date any more: something changed meanwhile; run doit verify again")
            actions = [label for label in wanted if (deps or label in chosen) and label not in build.graph.groups]
            for label in actions:
                outcome = build.outcomes.get(label)
                skipped = outcome.reason if outcome is not None and outcome.status is Status.SKIPPED else ""
                if pins and str(label) in pins:
                    skipped = "is taken as it is locked"
                if reason := skipped or build.unmet(build.graph.targets[label]):
                    done.skipped[label] = reason
            for label in (Label.parse(text) for text in args if ":" in text):
                if label in done.skipped and pins is None:
                    raise InvalidCommand(f"{label} {done.skipped[label]}")
            waiting = [label for label in actions if label not in done.skipped]
            if not again:
                known = {label: build.reproducibilities.get(build.last_key(label)) for label in waiting}
                done.before = {label: each.reproducible for label, each in known.items() if each}
                waiting = [label for label in waiting if label not in done.before]
            with user_errors():  # of the store: what an action runs into is its failure
                _verify_all(build, waiting, processes, done, out)
        finally:
            build.close(args)
    return done


def _verify_all(build: Build, labels: Sequence[Label], processes: int, done: Verification, out: TextIO) -> None:
    live = is_live(out, os.environ)
    progress = Progress(out, len(labels), 0, colour=not os.environ.get("NO_COLOR")) if live else None
    said = threading.Lock()

    def line(text: str, colour: str = "") -> None:
        with said:
            if progress:
                progress.line(text, colour)
            else:
                print(text, file=out, flush=True)

    with build.apart() as (executor, store), ThreadPoolExecutor(processes) as pool:

        def one(label: Label) -> Verified:
            last = build.record(build.last_key(label))
            if progress:
                progress.start(str(label), last.seconds if last else None)
            return verify(build, label, executor, store, log_of(label))

        futures: dict[Future[Verified], Label] = {pool.submit(one, label): label for label in labels}
        try:
            for label in done.skipped:
                line(f"{'':8}skipped    {label}: {done.skipped[label]}", Colour.YELLOW)
            for number, future in enumerate(as_completed(futures), 1):
                label = futures[future]
                if progress:
                    progress.finish(str(label), False)
                head = f"{f'[{number}/{len(labels)}]':8}"
                try:
                    found = future.result()
                except (ActionError, WorkspaceError, OSError) as error:
                    done.failed[label] = in_words(error) if isinstance(error, OSError) else str(error)
                    line(f"{head}FAILED     {label}: {done.failed[label]}", Colour.RED)
                    line(f"{'':8}log: {log_of(label)}")
                    continue
                done.found[label] = found
                line(f"{head}{found.reproducible:10} {label}  {found.seconds:.1f} s", _COLOURS[found.reproducible])
                for text in _differences(build, found):
                    line(text)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            executor.stop()
            raise
        finally:
            if progress:
                progress.close()
            # Only now: what is known of a target's class is an input of its provenance.
            for found in done.found.values():
                keep(build.reproducibilities, found)


def log_of(label: Label) -> Path:
    """Where what an action printed is kept when it ran again."""
    return Path(STATE) / "logs" / label.package / f"{label.name}.verify.log"


def _differences(build: Build, found: Verified) -> Iterator[str]:
    action = build.graph.targets[found.label].action
    assert action is not None
    for name, compared in found.differences.items():
        basis = f" ({compared.basis})" if compared.basis else ""
        yield f"{'':19}{action.outputs[name].path}: {compared.reproducible}{basis}"
        for finding in compared.findings[:_SHOWN]:
            yield f"{'':21}{': '.join(filter(None, finding))}"
        if len(compared.findings) > _SHOWN:
            yield f"{'':21}and more, which --json lists"


def summary_of(done: Verification, seconds: float) -> str:
    """The last line of a verification."""
    counts = Counter(each.reproducible for each in done.found.values())
    classes = ", ".join(f"{each} {counts[each]}" for each in CLASSES)
    before = f", verified before {len(done.before)}" if done.before else ""
    return f"{classes}, failed {len(done.failed)}, skipped {len(done.skipped)}{before} in {seconds:.1f} s"


def _as_json(done: Verification, seconds: float) -> Mapping[str, Any]:
    counts = Counter(each.reproducible for each in done.found.values())
    targets: list[dict[str, Any]] = []
    for label, found in done.found.items():
        outputs = {name: as_json(each) for name, each in found.differences.items()}
        targets.append(
            {"label": str(label), "class": found.reproducible, "key": found.key, "seconds": round(found.seconds, 3), "differences": outputs}
        )
    for status, reasons in (("failed", done.failed), ("skipped", done.skipped)):
        targets += [{"label": str(label), "class": None, "status": status, "reason": reason} for label, reason in reasons.items()]
    summary = {**{each: counts[each] for each in CLASSES}, "failed": len(done.failed), "skipped": len(done.skipped)}
    return {**summary, "seconds": round(seconds, 3), "targets": targets}
