"""glob(): the files of a folder of the package, for a BUILD.py."""

from __future__ import annotations

from fnmatch import fnmatchcase

from enginewright.errors import DeclarationError
from enginewright.graph.rule import loading


def glob(pattern: str) -> list[str]:
    """The files of the package that match, sorted, as ``glob("photographs/*.jpg")``; hidden ones only where the pattern is.

    The last part of the pattern may have wildcards (``*``, ``?``, ``[abc]``), the folder may not. A file that is added to the folder, or
    taken away, is noticed by the next build. Raises ValueError where nothing matches, for then something is misspelt.
    """
    into = loading.get()
    if into is None or into.list_files is None:
        raise DeclarationError("glob() lists files of a package: call it in a BUILD.py")
    folder, slash, name = pattern.rpartition("/")
    if not name or set(folder) & set("*?[") or (slash and {"", ".", ".."} & set(folder.split("/"))):
        raise ValueError(f"glob(): {pattern!r} is not a folder below the package, and a pattern for names in it, as 'photographs/*.jpg'")
    hidden = name.startswith(".")
    found = sorted(each for each in into.list_files(folder) if fnmatchcase(each, name) and each.startswith(".") == hidden)
    if not found:
        raise ValueError(f"glob(): no file of {into.package} matches {pattern!r}")
    return [f"{folder}{slash}{each}" for each in found]
