"""What a workspace's targets are made from now, as a lock would have it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from enginewright.errors import DeclarationError
from enginewright.execute.installation import PACKAGE, Installation
from enginewright.execute.platform import gpus, host_platform
from enginewright.graph.action import Action, Artifact
from enginewright.graph.dag import Graph, Target
from enginewright.graph.label import Label
from enginewright.release.lock import ANY, FILE, Difference, Lock, line_of
from enginewright.store.digest import file_digests
from enginewright.workspace.sources import locate


class Present(NamedTuple):
    """``lock`` is what was found; ``elsewhere`` are the toolchains of actions that only another machine could run."""

    lock: Lock
    elsewhere: frozenset[str]


def look(root: Path, graph: Graph, labels: Iterable[Label], installation: Installation) -> Present:
    """What these targets of the workspace at ``root`` are made from. Reads the sources that are locked.

    Raises DeclarationError for a source or a distribution that is missing, and OSError.
    """
    sources: dict[str, str] = {}
    bases: dict[str, str] = {}
    toolchains: dict[str, dict[str, str]] = {}
    elsewhere = set()
    for label in labels:
        target = graph.targets[label]
        if target.action is None:
            continue
        for artifact in locked_sources(target.action):
            name = artifact.origin or artifact.path
            if name not in sources:
                sources[name] = f"sha256:{_sha256(root, target, artifact)}"
        if base := _base(target.action):
            bases[str(label)] = base
        group = target.action.requires.get("gpu", ANY)
        if group != ANY and group not in gpus():
            elsewhere.add(group)
            continue
        try:
            versions = installation.toolchain(target.action.packages).versions
        except LookupError as error:
            if group == ANY:
                raise DeclarationError(f"{target}: {error}") from None
            elsewhere.add(group)
            continue
        toolchains.setdefault(group, {}).update(versions)
    with suppress(metadata.PackageNotFoundError):  # it is not installed, but on the module path
        toolchains.setdefault(ANY, {})[PACKAGE] = metadata.version(PACKAGE)
    known = {group: dict(sorted(versions.items())) for group, versions in toolchains.items() if group not in elsewhere}
    return Present(Lock(sources, bases, dict.fromkeys(known, host_platform()), known), frozenset(elsewhere))


def locked_sources(action: Action) -> Iterator[Artifact]:
    """The sources of an action that a lock has: those from outside the workspace, and those with a declared SHA-256."""
    for name, artifact in action.inputs.items():
        if (artifact.origin and not artifact.written) or (name == "src" and action.params.get("sha256")):
            yield artifact


def _base(action: Action) -> str:
    """The reference or the digest by which an oci_base() pins an image; empty for one that does not, and for other actions."""
    if action.mnemonic != "OciBase":
        return ""
    return str(action.params.get("image") or action.params.get("digest") or "")


def _sha256(root: Path, target: Target, artifact: Artifact) -> str:
    try:
        return file_digests(locate(root, artifact))[1]
    except LookupError as error:
        raise DeclarationError(f"{target}: {error}") from None
    except (FileNotFoundError, IsADirectoryError):
        raise DeclarationError(f"{target}: the source {artifact.origin or artifact.path} is no file, or does not exist") from None


def since(root: Path, difference: Difference) -> str:
    """Since when something is not as it was locked, so far as its files tell; empty when they do not."""
    try:
        if difference.kind == "source":
            artifact = Artifact(difference.name, origin=difference.name if difference.name.startswith("dist://") else "")
            return f"changed {_time(locate(root, artifact).stat().st_mtime)}"
        if difference.kind == "distribution":
            # What pip wrote when it installed the distribution. importlib has no public name for the folder.
            folder = getattr(metadata.distribution(difference.name), "_path", None)
            return f"installed {_time(os.stat(folder).st_mtime)}" if folder else ""
    except (OSError, LookupError):
        pass
    return ""


def locked_since(root: Path, difference: Difference) -> str:
    """The commit that wrote what is locked, and its date; empty where Git does not tell."""
    try:
        number = line_of((root / FILE).read_text(encoding="utf-8"), difference)
        if not number:
            return ""
        commit = _git(root, "blame", "--porcelain", f"-L{number},{number}", "--", FILE).partition(" ")[0]
        return _git(root, "show", "--no-patch", "--format=%h of %cs", commit).strip() if commit.strip("0") else ""
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True).stdout


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
