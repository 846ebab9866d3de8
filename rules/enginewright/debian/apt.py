"""Asking apt, which knows the machine's archives, proxies, keys and credentials, without touching what it knows of the machine.

All it writes is in a folder of its own, and it believes that nothing is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from enginewright.debian.pins import Package
from enginewright.errors import ActionError
from enginewright.graph.action import APT_SOURCES
from enginewright.model.checksum import sha256_of

_URI = re.compile(r"'\S+' ([^_\s]+)_([^_\s]+)_\S+\.deb \d+\b.*")
_GONE = re.compile(r"Version '([^']+)' for '([^']+)' was not found|Unable to locate package (\S+)|no installation candidate")


class Apt:
    """apt for ``architecture`` with its state in ``folder``. ``omitted`` are packages that it is to believe installed."""

    def __init__(self, folder: Path, architecture: str, omitted: Iterable[str] = ()) -> None:
        self._folder = folder
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        status = "".join(
            f"Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nMulti-Arch: foreign\nVersion: 9999\n"
            "Maintainer: none\nDescription: left out\n\n"
            for name in omitted
        )
        (folder / "status").write_text(status)
        sources = os.environ.get(APT_SOURCES)
        places = {"Dir::Etc::sourcelist": str(Path(sources).absolute()), "Dir::Etc::sourceparts": "/dev/null"} if sources else {}
        settings = {
            "Dir::State": folder / "state", "Dir::State::status": folder / "status", "Dir::Cache": folder / "cache",
            "APT::Architecture": architecture, "APT::Architectures": architecture, "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": 3, "APT::Install-Recommends": "false", "APT::Get::Assume-Yes": "true", "Debug::NoLocking": "true",
            "APT::Update::Post-Invoke-Success": "", "Dir::Log": folder, "Dpkg::Use-Pty": "0", **places,
        }  # fmt: skip
        self._options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]

    def update(self) -> str:
        """Learn what the archives have, and return what apt says of it.

        One that cannot be reached is done without: what only it has will be missed by name.
        """
        return self._run("apt-get", "update", check=False)

    def resolve(self, wanted: Sequence[str], essential: bool = False) -> list[Package]:
        """The packages named and all that they depend on, as an installation on nothing would have them.

        With ``essential``, also those without which Debian lets no system be. Raises ActionError for a package that is not there, and for
        dependencies that cannot be met.
        """
        said = self._run("apt-get", "install", "--print-uris", *wanted, *(["?essential"] if essential else []))
        matches = [match for line in said.splitlines() if (match := _URI.fullmatch(line.strip()))]
        if not matches:
            raise ActionError(f"apt resolves {' '.join(wanted)} to nothing: {_last(said)}")
        pins = [f"{match[1]}={match[2].replace('%3a', ':')}" for match in matches]
        return [_package(stanza) for stanza in self._run("apt-cache", "show", *pins).split("\n\n") if stanza.strip()]

    def download(self, packages: Sequence[Package], folder: Path) -> None:
        """Put the .deb of each package into ``folder``. Raises ActionError for those that the archives do not have, or have otherwise."""
        done = subprocess.run(
            ["apt-get", *self._options, "--quiet=2", "download", *(each.pin for each in packages)],
            cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        print(done.stdout)
        if done.returncode:
            gone = [line for each in packages if (line := self._gone(each))] if _GONE.search(done.stdout) else []
            raise ActionError(_vanished(gone) if gone else f"apt could not fetch the packages: {_last(done.stdout)}")
        for package in packages:
            place = folder / package.file
            if not place.is_file():
                raise ActionError(f"apt fetched no {package.file}")
            found = sha256_of(place)
            if found != package.sha256:
                raise ActionError(
                    f"{package.file}: its SHA-256 is not the pinned one\n  expected {package.sha256}\n  found    {found}\n"
                    "Nothing was taken. A package never changes under one version: look where it came from."
                )

    def _gone(self, package: Package) -> str:
        """What the archives have instead of a package that they no longer have; empty when they have it."""
        said = self._run("apt-cache", "madison", package.name, check=False)
        versions = [fields[1] for line in said.splitlines() if len(fields := [each.strip() for each in line.split("|")]) == 3]
        if package.version in versions:
            return ""
        return f"{package.name} {package.version} ({f'there is {versions[0]}' if versions else 'there is no other version either'})"

    def _run(self, program: str, *arguments: str, check: bool = True) -> str:
        options = ["--quiet=1"] if program == "apt-get" else []
        command = [program, *self._options, *options, *arguments]
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if check and done.returncode:
            raise ActionError(f"{program} {arguments[0]} failed: {_last(done.stdout)}")
        return done.stdout


def _package(stanza: str) -> Package:
    """A package by what an archive says of it. Raises ActionError where it gives no SHA-256."""
    fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
    if "SHA256" not in fields:
        raise ActionError(f"the archive gives no SHA-256 of {fields.get('Package', stanza[:40])}")
    return Package(fields["Package"], fields["Version"], fields["Architecture"], fields["SHA256"])


def _vanished(gone: Sequence[str]) -> str:
    return (
        f"the archives that apt uses here no longer have {len(gone)} of the pinned packages:\n  " + "\n  ".join(gone) + "\n"
        "Either pin what they have now, with `doit pin`, and look at what changed; or have apt use an archive that keeps old versions:"
        f" {APT_SOURCES}=FILE, a sources.list that names a snapshot. Where the store has them from before, they are taken from there."
    )


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("E:")), (lines or ["it said nothing"])[-1]).removeprefix("E: ")
