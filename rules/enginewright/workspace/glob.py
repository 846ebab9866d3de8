"""glob(): the files of a folder of the package, for a BUILD.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from enginewright.errors import DeclarationError
from enginewright.graph.rule import loading


def glob(pattern: str) -> list[str]:
    """The files of the package that match, sorted, as ``glob("photographs/*.jpg")``; hidden ones only where the pattern is.

    The last part of the pattern may have wildcards (``*``, ``?``, ``[abc]``), the folder may not; ``**`` as the last part are all files
    below the folder. A file that is added to the folder, or taken away, is noticed by the next build. Raises ValueError where nothing
    matches, for then something is misspelt.
    """
    into = loading.get()
    if into is None or into.list_files is None:
        raise DeclarationError("glob() lists files of a package: call it in a BUILD.py")
    folder, slash, name = pattern.rpartition("/") if isinstance(pattern, str) else ("", "", "")
    if not name or "\0" in pattern or set(folder) & set("*?[") or (slash and {"", ".", ".."} & set(folder.split("/"))):
        raise ValueError(f"glob(): {pattern!r} is not a folder below the package, and a pattern for names in it, as 'photographs/*.jpg'")
    if name == "**":
        found = sorted(_below(folder, into.list_files))
    else:
        hidden = name.startswith(".")
        found = sorted(each for each in into.list_files(folder) if fnmatchcase(each, name) and each.startswith(".") == hidden)
        found = [each for each in found if not each.endswith("/")]
    if not found:
        raise ValueError(f"glob(): no file of {into.package} matches {pattern!r}")
    return [f"{folder}{slash}{each}" for each in found]


def _below(folder: str, list_files: Callable[[str], list[str]], path: str = "") -> Iterator[str]:
    """All files below a folder that are not hidden, nor in hidden folders, with their paths below it."""
    for each in list_files(f"{folder}/{path}".strip("/")):
        if each.endswith("/") and not each.startswith("."):
            yield from _below(folder, list_files, path + each)
        elif not each.startswith("."):
            yield path + each
