"""A virtual environment made of wheels, as files for an image: the same bytes wherever it is made.

Its layout is that of `venv` (https://docs.python.org/3/library/venv.html, PEP 405), so that its scripts run without being told where
they are; what is installed in it, and recorded, is what the specifications "Binary distribution format" and "Recording installed
projects" say (https://packaging.python.org/en/latest/specifications/). No bytecode: that would depend on which Python made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from enginewright.errors import FULL_DISK, ActionError
from enginewright.wheel.target import Target


def make_environment(wheels: Iterable[Path], place: Path, prefix: str, interpreter: str, target: Target) -> dict[str, str]:
    """Install wheels below ``place`` for an environment that will be at ``prefix`` in an image; return its symbolic links.

    ``interpreter`` is the image's Python, by its absolute path. Links are by their absolute paths in the image. Raises ActionError for
    wheels that are damaged, are not what their RECORD says, lead out of the environment, have a file in common, or need
    a distribution that is not among them.
    """
    from packaging.utils import parse_wheel_filename

    by_name = {str(parse_wheel_filename(wheel.name)[0]): wheel for wheel in wheels}
    for name in sorted(by_name):
        _install(by_name[name], place, prefix, target)
    _check_requirements(by_name, target)
    home, _, _ = interpreter.rpartition("/")
    root = place / prefix.lstrip("/")
    (root / "bin").mkdir(parents=True, exist_ok=True)
    for script in (root / "bin").iterdir():
        script.chmod(0o755)  # whatever mode it has in its wheel
    (root / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\nversion = {target.python}\n")
    return {f"{prefix}/bin/{name}": interpreter for name in ("python", "python3", f"python{target.python}")}


def _install(wheel: Path, place: Path, prefix: str, target: Target) -> None:
    import zipfile

    import installer
    from installer.destinations import SchemeDictionaryDestination
    from installer.exceptions import InstallerError
    from installer.sources import WheelFile

    site = f"{prefix}/lib/python{target.python}/site-packages"
    name = wheel.name.partition("-")[0]
    schemes = {
        "purelib": site, "platlib": site, "scripts": f"{prefix}/bin", "data": prefix,
        "headers": f"{prefix}/include/site/python{target.python}/{name}",
    }  # fmt: skip
    destination = SchemeDictionaryDestination(schemes, interpreter=f"{prefix}/bin/python", script_kind="posix", destdir=str(place))
    try:
        with WheelFile.open(wheel) as source:
            source.validate_record(validate_contents=False)  # the wheel as a whole is pinned; RECORD is written anew
            installer.install(source, destination, additional_metadata={"INSTALLER": b"enginewright\n"})
    except FileExistsError as error:
        taken = str(error).rpartition(f"{place}/")[2]
        raise ActionError(f"{wheel.name}: another wheel has a file /{taken} too: one of them must go") from None
    except (InstallerError, ValueError, KeyError, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        issues = getattr(error, "issues", None)
        reason = issues[0] if issues else str(error) or type(error).__name__
        raise ActionError(f"{wheel.name} is a damaged wheel, or none: {reason.replace(str(wheel), wheel.name)}") from None


def _check_requirements(wheels: Mapping[str, Path], target: Target) -> None:
    """Raise ActionError where a distribution requires one that is not there, or another version of it: as `pip check` would."""
    from packaging.metadata import Metadata
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name, parse_wheel_filename

    versions = {name: parse_wheel_filename(wheel.name)[1] for name, wheel in wheels.items()}
    problems = []
    for name, wheel in wheels.items():
        required: Iterable[Requirement] = Metadata.from_email(_metadata(wheel), validate=False).requires_dist or ()
        for requirement in required:
            if requirement.marker and not requirement.marker.evaluate({**target.markers(), "extra": ""}):
                continue
            found = versions.get(str(canonicalize_name(requirement.name)))
            if found is None:
                problems.append(f"{name} {versions[name]} requires {requirement}, which the requirements do not pin")
            elif not requirement.specifier.contains(found, prereleases=True):
                problems.append(f"{name} {versions[name]} requires {requirement}, and {found} is pinned")
    if problems:
        raise ActionError("the requirements are not complete:\n  " + "\n  ".join(sorted(problems)))


def _metadata(wheel: Path) -> bytes:
    from installer.sources import WheelFile

    with WheelFile.open(wheel) as source:
        return source.read_dist_info("METADATA").encode()
