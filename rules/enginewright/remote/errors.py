"""What goes wrong with a remote server."""

from __future__ import annotations


class RemoteError(Exception):
    """A call to a remote server failed.

    ``temporary`` is one that may succeed when it is made again; ``full`` one of these, for which the server had no room just then;
    ``slow`` one that took too long.
    """

    def __init__(self, message: str, temporary: bool = False, full: bool = False, slow: bool = False) -> None:
        super().__init__(message)
        self.full = full
        self.temporary = temporary
        self.slow = slow


class WrongBytesError(RemoteError):
    """A server gave other bytes than it was asked for."""
