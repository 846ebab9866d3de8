"""The shared cache behind a URL."""

from __future__ import annotations

from collections.abc import Callable

from enginewright.errors import WorkspaceError
from enginewright.remote.adapter import Adapter
from enginewright.remote.address import Access, Address

INSTALL = "pip install 'enginewright[remote]'"


def adapter_for(address: Address, access: Access, timeout: float, patient: bool = False) -> Adapter:
    """What speaks to the cache at an address; nothing has been sent to it yet. ``timeout`` is in seconds, and becomes longer for one of the
    Remote Execution API that is slow, if we are to be ``patient``. Raises WorkspaceError."""
    try:
        return _ADAPTERS[address.scheme](address, access, timeout, patient)
    except ModuleNotFoundError as error:
        raise WorkspaceError(
            f"{address}: the module {error.name!r} is needed for a remote cache, and is not installed: {INSTALL}"
        ) from None


def _reapi(address: Address, access: Access, timeout: float, patient: bool) -> Adapter:
    from enginewright.remote.channel import Connection
    from enginewright.remote.reapi_cache import ReapiCache

    return ReapiCache(Connection(address, access, timeout, patient))


def _http(address: Address, access: Access, timeout: float, _patient: bool) -> Adapter:
    from enginewright.remote.http import HttpObjects
    from enginewright.remote.objects import ObjectCache

    return ObjectCache(HttpObjects(address, access, timeout))


def _bucket(address: Address, access: Access, timeout: float, _patient: bool) -> Adapter:
    from enginewright.remote.bucket import BucketObjects
    from enginewright.remote.objects import ObjectCache

    return ObjectCache(BucketObjects(address, timeout))


_ADAPTERS: dict[str, Callable[[Address, Access, float, bool], Adapter]] = {
    "grpc": _reapi, "grpcs": _reapi, "http": _http, "https": _http, "s3": _bucket, "gs": _bucket, "az": _bucket, "file": _bucket,
}  # fmt: skip
