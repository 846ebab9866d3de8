"""Unpacking .deb files into the members of one layer, without dpkg, root or a chroot: the same bytes from anybody's machine.

Packages are unpacked and not configured: no maintainer script runs. What of their work an image cannot do without is done here by
`_configure`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from enginewright.debian.deb import MERGED, control, files, reading
from enginewright.debian.root import Root
from enginewright.oci.tar import Member

_COPIED = {
    "etc/passwd": "usr/share/base-passwd/passwd.master",
    "etc/group": "usr/share/base-passwd/group.master",
    "etc/nsswitch.conf": "usr/share/base-files/nsswitch.conf",
}  # fmt: skip
"""What base-passwd and base-files copy when they are configured, each if it is there."""
_CERTIFICATES = "usr/share/ca-certificates/"
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_OPENSSL = "usr/lib/ssl/cert.pem"


def unpack(debs: Iterable[Path], exclude: Iterable[str], scratch: Path) -> list[Member]:
    """The members of a layer with what is in these packages but ``exclude``, sorted; large files lie in ``scratch`` until it is written.

    Each package leaves its control file in /var/lib/dpkg/status.d, where scanners look for what is installed. Raises ActionError for a file
    that is no .deb or is damaged, a device, a path that leads out of the image, and as `Root` does.
    """
    root = Root(exclude)
    for deb in sorted(debs):
        with reading(deb):
            status = f"var/lib/dpkg/status.d/{deb.name.partition('_')[0]}"
            root.add(Member(status, "file", 0o644, control(deb)), deb.name)
            for member in files(deb, scratch):
                root.add(member, deb.name)
    root.resolve_links()
    _configure(root.members)
    return root.whole()


def _configure(found: dict[str, Member]) -> None:
    """Add what configuring these packages would have made, and what nothing runs without."""
    for name in MERGED:
        if f"usr/{name}" in found or any(each.startswith(f"usr/{name}/") for each in found):
            found[name] = Member(name, "symlink", 0o777, target=f"usr/{name}")
    for name, source in _COPIED.items():
        if source in found:
            found[name] = found[source]._replace(name=name, mode=0o644)
    certificates = [found[name] for name in sorted(found) if name.startswith(_CERTIFICATES) and name.endswith(".crt")]
    if certificates:
        found[_BUNDLE] = Member(_BUNDLE, "file", 0o644, b"".join(_content(each) for each in certificates))
        # Where Debian's OpenSSL looks. Its package has the folder, with links by hash that are made when it is configured.
        found.setdefault(_OPENSSL, Member(_OPENSSL, "symlink", 0o777, target=f"/{_BUNDLE}"))
    if "var/lib/dpkg" in found or "etc/debian_version" in found:
        found.setdefault("var/run", Member("var/run", "symlink", 0o777, target="/run"))
        found.setdefault("var/lock", Member("var/lock", "symlink", 0o777, target="/run/lock"))


def _content(member: Member) -> bytes:
    return member.source.read_bytes() if isinstance(member.source, Path) else member.source
