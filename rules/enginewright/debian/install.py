"""Installing .deb files by mmdebstrap: maintainer scripts run, and the packages count as installed. Neither root nor a network is needed.

mmdebstrap(1) in its mode fakechroot, in which a library that is loaded before all others stands in for root and for chroot(2). What it
leaves that is another machine's business, or another day's, is left out.
"""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from enginewright.debian.deb import control, member, placed, reading
from enginewright.debian.root import Root
from enginewright.errors import ActionError
from enginewright.model.checksum import sha256_of
from enginewright.oci.tar import Member

_NEEDED = ("dpkg", "libc-bin", "tar")
"""Packages without which no maintainer script runs: `doit pin` has all that Debian calls essential for `install`."""

_LEFT = (
    "/dev/*",  # whoever runs a container mounts it
    "/etc/apt/sources.list", "/etc/hostname", "/etc/resolv.conf",  # of this machine
    "/etc/dpkg/dpkg.cfg.d/99mmdebstrap", "/var/cache/apt/*", "/var/cache/debconf/*-old", "/var/lib/dpkg/*-old", "/var/lib/dpkg/lock*",
    "*/__pycache__", "*/__pycache__/*",  # made for the times of the sources, which are others in a layer
)  # fmt: skip

_MERGE = 'for name in bin lib lib64 sbin; do mkdir -p "$1/usr/$name" && ln -s "usr/$name" "$1/$name"; done'
"""Where the packages go that still have files in /bin and the like: https://wiki.debian.org/UsrMerge."""

_EPOCH = "86400"
"""When all this happens, in seconds since 1970: /etc/shadow tells on which day passwords were set, and day 0 stands for expired."""


def install(debs: Iterable[Path], suite: str, architecture: str, exclude: Iterable[str], scratch: Path) -> list[Member]:
    """The members of a layer with these packages installed, sorted, but for ``exclude``; files lie in ``scratch`` until it is written.

    Raises ActionError for a package that is damaged, for essential ones that are missing, and with what mmdebstrap says where it fails.
    """
    archive = scratch / "archive"
    archive.mkdir()
    names = []
    with (archive / "Packages").open("wb") as index:
        for deb in sorted(debs):
            (archive / deb.name).symlink_to(deb.resolve())
            names.append(deb.name.partition("_")[0])
            with reading(deb):
                place = f"Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {sha256_of(deb)}\n"
                index.write(control(deb).strip() + b"\n" + place.encode() + b"\n")
    if missing := [name for name in _NEEDED if name not in names]:
        raise ActionError(f"{missing[0]} is not pinned, without which nothing can be installed: write the pins anew with `doit pin`")
    made = scratch / "root.tar"
    command = [
        "mmdebstrap", "--mode=fakechroot", "--variant=custom", "--format=tar", f"--architectures={architecture}",
        f"--include={','.join(names)}", "--dpkgopt=force-unsafe-io", f"--setup-hook={_MERGE}", suite, str(made),
        f"deb [trusted=yes] copy:{archive} ./",
    ]  # fmt: skip
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TMPDIR": str(scratch), "SOURCE_DATE_EPOCH": _EPOCH,
        "FAKEROOTDONTTRYCHOWN": "1",  # in a user namespace chown(2) fails in another way than fakeroot knows
    }  # fmt: skip
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout)
    if done.returncode:
        raise ActionError(f"mmdebstrap could not install the packages: {_reason(done.stdout)}")
    root = Root([*_LEFT, *exclude])
    with tarfile.open(made) as tar:
        for each in tar:
            if (name := placed(each.name)) and not each.isdev():
                root.add(member(name, each, tar, scratch))
    root.resolve_links()
    return root.whole()


def _reason(said: str) -> str:
    """The line that says most: what apt misses, else what dpkg failed at, else mmdebstrap's first error, which just says what failed."""
    lines = said.splitlines() or ["it said nothing"]
    for wanted in (" : Depends: ", "dpkg: error", "E: "):
        for line, following in zip(lines, [*lines[1:], ""]):
            if wanted in line:
                more = following.strip() if line.endswith(":") else ""
                return f"{line.strip().removeprefix('E: ')} {more}".strip()
    return lines[-1]
