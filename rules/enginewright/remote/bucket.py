"""Objects in a bucket, or in a folder that machines share: S3 and its like, Google Cloud Storage, Azure, a file system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, from_url

from enginewright.errors import WorkspaceError
from enginewright.remote.address import Address, s3_endpoint
from enginewright.remote.errors import RemoteError
from enginewright.remote.objection import in_a_line, lacks_credentials

_PARTS = 4
"""Parts of a large object that are sent at a time."""

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}

_KINDS = {"s3": "S3 bucket", "gs": "Google Cloud Storage bucket", "az": "Azure container", "file": "folder"}


class BucketObjects:
    """The objects below a prefix of a bucket. Credentials, region and endpoint come from the environment, as each vendor has them."""

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        try:
            if address.scheme == "file":
                self._store: obstore.store.ObjectStore = LocalStore(Path(address.path), mkdir=True)
            else:
                endpoint = s3_endpoint(os.environ) if address.scheme == "s3" else ""
                options: Any = {"endpoint": endpoint} if endpoint else {}
                # Tried again by whoever calls, who knows what can be done without.
                self._store = from_url(
                    str(address),
                    client_options={
                        "connect_timeout": timedelta(seconds=timeout),
                        "timeout": timedelta(seconds=max(timeout, 300)),
                        "allow_http": endpoint.startswith("http://"),
                    },
                    retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeout)},
                    **options,
                )
        except (BaseError, ValueError, OSError) as error:
            hint = f" (credentials: {_CREDENTIALS[address.scheme]})" if address.scheme in _CREDENTIALS else ""
            raise WorkspaceError(f"{address}: {in_a_line(error)}{hint}") from None

    def describe(self) -> str:
        """Ask for what cannot be there."""
        self.has("cas/" + "0" * 64)
        return _KINDS[self._address.scheme]

    def has(self, name: str) -> bool:
        """Ask for an object's size."""
        try:
            with self._errors("asking after", name):
                obstore.head(self._store, name)
        except FileNotFoundError:
            return False
        return True

    def get(self, name: str, sink: Callable[[bytes], object]) -> bool:
        """Read an object."""
        try:
            with self._errors("reading", name):
                for data in obstore.get(self._store, name).stream(min_chunk_size=1 << 20):
                    sink(bytes(data))
        except FileNotFoundError:
            return False
        return True

    def put(self, name: str, content: bytes | Path) -> None:
        """Write an object, a large one in parts; it is there when it is there whole."""
        with self._errors("writing", name):
            obstore.put(self._store, name, content, max_concurrency=_PARTS)

    def close(self) -> None:
        """Nothing is held."""

    @contextmanager
    def _errors(self, doing: str, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if doing == "writing":
                raise RemoteError(f"{self._address} cannot be written to: {in_a_line(error)}") from None
            raise
        except (PermissionDeniedError, UnauthenticatedError) as error:
            listing = " (S3 says so of what it lacks, too, to those without s3:ListBucket)"
            hint = listing if self._address.scheme == "s3" and doing != "writing" else ""
            raise RemoteError(f"{self._address} does not allow {doing} {name}{hint}: {in_a_line(error)}") from None
        except (BaseError, OSError, ValueError) as error:
            if lacks_credentials(error):
                variables = _CREDENTIALS[self._address.scheme]
                raise RemoteError(f"{self._address}: there are no credentials: set {variables}") from None
            raise RemoteError(f"{self._address} failed while {doing} {name}: {in_a_line(error)}", temporary=True) from None
