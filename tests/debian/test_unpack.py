from __future__ import annotations

import errno
import os
import tarfile
from pathlib import Path

import pytest
import zstandard

from debs import entry, folder, link, make_deb
from enginewright.debian.unpack import unpack
from enginewright.errors import ActionError
from enginewright.oci.tar import Member


def unpacked(place: Path, *debs: Path, exclude: tuple[str, ...] = ()) -> dict[str, Member]:
    scratch = place / f"scratch{len(list(place.iterdir()))}"
    scratch.mkdir()
    members = unpack(debs, exclude, scratch)
    assert [member.name for member in members] == sorted(member.name for member in members)
    return {member.name: member for member in members}


def test_files_lie_in_a_merged_usr_with_their_owners_and_modes(tmp_path: Path) -> None:
    deb = make_deb(
        tmp_path, "tools",
        [
            folder(""), folder("bin"), entry("bin/su", b"su", 0o4755), folder("lib"), entry("lib/x.so", b"x"), entry("usr/lib/y.so", b"y"),
            entry("etc/shadow", b"", 0o640, gid=42), folder("tmp", 0o1777), link("bin/sh", "dash"), entry("large", b"." * (1 << 17)),
        ],
    )  # fmt: skip
    found = unpacked(tmp_path, deb)
    assert found["bin"] == Member("bin", "symlink", 0o777, target="usr/bin") and found["lib"].target == "usr/lib"
    assert "sbin" not in found
    assert found["usr/bin/su"].mode == 0o4755 and found["usr/lib/x.so"].source == b"x" and found["usr/lib/y.so"].source == b"y"
    assert found["etc/shadow"].gid == 42 and found["etc/shadow"].mode == 0o640 and found["tmp"].mode == 0o1777
    assert found["usr/bin/sh"].target == "dash"
    large = found["large"].source
    assert isinstance(large, Path) and large.stat().st_size == 1 << 17
    assert found["var/lib/dpkg/status.d/tools"].source == (
        b"Package: tools\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: a test\n"
    )
    assert {"var", "var/lib", "usr", "etc"} <= {name for name, member in found.items() if member.kind == "folder"}


def test_what_configuring_would_have_made(tmp_path: Path) -> None:
    passwd = make_deb(tmp_path, "base-passwd", [entry("usr/share/base-passwd/passwd.master", b"root"), entry("etc/debian_version", b"12")])
    certificates = [entry(f"usr/share/ca-certificates/mozilla/{name}.crt", name.encode()) for name in "BA"]
    found = unpacked(tmp_path, passwd, make_deb(tmp_path, "ca-certificates", certificates))
    assert found["etc/passwd"].source == b"root" and "etc/group" not in found
    assert found["etc/ssl/certs/ca-certificates.crt"].source == b"AB"
    assert found["usr/lib/ssl/cert.pem"].target == "/etc/ssl/certs/ca-certificates.crt"
    assert found["var/run"].target == "/run"


def test_hard_links_and_shared_folders(tmp_path: Path) -> None:
    a = make_deb(
        tmp_path, "a", [folder("usr/lib/x"), entry("usr/bin/perl", b"perl", 0o755), link("usr/bin/a", "./usr/bin/perl", tarfile.LNKTYPE)]
    )
    b = make_deb(tmp_path, "b", [folder("usr/lib/x"), entry("usr/lib/x/b")], compression="gz")
    found = unpacked(tmp_path, a, b)
    assert found["usr/bin/a"] == Member("usr/bin/a", "file", 0o755, b"perl")


def test_patterns_leave_out_but_for_copyright(tmp_path: Path) -> None:
    files = [entry(f"usr/share/doc/a/{name}") for name in ("copyright", "changelog.gz", "examples/x")]
    found = unpacked(tmp_path, make_deb(tmp_path, "a", files), exclude=("/usr/share/doc/*",))
    assert [name for name in found if name.startswith("usr/share/doc/a/")] == ["usr/share/doc/a/copyright"]


def test_zstd(tmp_path: Path) -> None:
    deb = make_deb(tmp_path, "a", [entry("x", b"x")], compression="zst", pack=zstandard.ZstdCompressor().compress)
    assert unpacked(tmp_path, deb)["x"].source == b"x"


def test_two_packages_with_one_file(tmp_path: Path) -> None:
    a, b = (make_deb(tmp_path, name, [entry(path, name.encode())]) for name, path in (("a", "lib/x"), ("b", "usr/lib/x")))
    with pytest.raises(ActionError, match=r"^/usr/lib/x is in a_1\.0_all\.deb and in b_1\.0_all\.deb: leave one of them out"):
        unpacked(tmp_path, a, b)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("../x")], "leads out of the package"),
        ([entry("usr/../../x")], "leads out of the package"),
        ([entry("dev/null", type=tarfile.CHRTYPE)], "/dev/null is neither a file, nor a folder, nor a link"),
        ([link("a", "./b", tarfile.LNKTYPE)], "^/a is a hard link to /b, which is not there"),
    ],
)
def test_what_no_image_takes(tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], message: str) -> None:
    with pytest.raises(ActionError, match=message):
        unpacked(tmp_path, make_deb(tmp_path, "evil", entries))


@pytest.mark.parametrize("size", [0, 5, 40, 100, 200, -30])
def test_a_damaged_package(tmp_path: Path, size: int) -> None:
    deb = make_deb(tmp_path, "a", [entry("x", b"x" * 1000)])
    deb.write_bytes(deb.read_bytes()[:size])
    with pytest.raises(ActionError, match=r"^a_1\.0_all\.deb is a damaged Debian package, or none: "):
        unpacked(tmp_path, deb)


def test_a_full_disk_is_not_the_packages_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("enginewright.debian.deb._keep", full)
    with pytest.raises(OSError, match="No space left"):
        unpacked(tmp_path, make_deb(tmp_path, "a", [entry("large", b"." * (1 << 17))]))
