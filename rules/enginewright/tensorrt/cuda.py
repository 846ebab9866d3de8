"""The little of CUDA that running an engine takes, by the driver's C interface: memory, a stream, events and graphs.

See "CUDA Driver API" in NVIDIA's documentation; the names below are its. There is no need for a toolkit, torch or numpy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint64, c_void_p
from typing import Any

from enginewright.errors import ActionError

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""
_OUT_OF_MEMORY = 2
_CAPTURE_RELAXED = 2
_NON_BLOCKING = 1


def architectures() -> tuple[str, ...]:
    """The architectures of this machine's GPUs, such as ``("sm_90",)``, in the driver's order; none without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(byref(count)):
        return ()
    return tuple(_architecture(driver, ordinal) for ordinal in range(count.value))


def _architecture(driver: Any, ordinal: int) -> str:
    device, major, minor = c_int(), c_int(), c_int()
    driver.cuDeviceGet(byref(device), ordinal)
    driver.cuDeviceGetAttribute(byref(major), _MAJOR, device)
    driver.cuDeviceGetAttribute(byref(minor), _MINOR, device)
    return f"sm_{major.value}{minor.value}"


class Cuda:
    """One GPU of an architecture, with a stream, in this process. Raises ActionError where there is none, or the driver refuses."""

    def __init__(self, arch: str) -> None:
        try:
            self._driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            raise ActionError(f"needs a GPU of architecture {arch}, and there is no driver on this machine") from None
        self._call("cuInit", 0)
        self.name = ""
        self._context = c_void_p()
        # What TensorRT uses as well: the context that the CUDA runtime makes for a device.
        self._call("cuDevicePrimaryCtxRetain", byref(self._context), self._find(arch))
        self._call("cuCtxSetCurrent", self._context)
        stream = c_void_p()
        self._call("cuStreamCreate", byref(stream), _NON_BLOCKING)
        self.stream = int(stream.value or 0)

    def _find(self, arch: str) -> c_int:
        """The first GPU of this architecture."""
        there = architectures()
        if arch not in there:
            raise ActionError(f"needs a GPU of architecture {arch}, and there are: {', '.join(there) or 'none'}")
        device, name = c_int(), ctypes.create_string_buffer(256)
        self._call("cuDeviceGet", byref(device), there.index(arch))
        self._call("cuDeviceGetName", name, 256, device)
        self.name = name.value.decode()
        return device

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._driver, function)(*arguments)
        if status == _OUT_OF_MEMORY:
            raise ActionError("the GPU ran out of memory: end what else runs on it, or run smaller shapes")
        if status:
            text = c_char_p()
            self._driver.cuGetErrorName(status, byref(text))
            raise ActionError(f"the CUDA driver refused {function}: {(text.value or b'').decode() or status}")

    @contextmanager
    def memory(self, size: int) -> Iterator[int]:
        """The address of ``size`` bytes of the GPU's memory, at least one."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), c_size_t(max(size, 1)))
        try:
            yield address.value
        finally:
            self._call("cuMemFree_v2", address)

    def upload(self, address: int, content: bytes) -> None:
        """Copy bytes to the GPU, and wait for it."""
        # On the stream, which does not wait for copies that are made outside of it.
        self._call("cuMemcpyHtoDAsync_v2", c_uint64(address), content, c_size_t(len(content)), c_void_p(self.stream))
        self.synchronise()

    def download(self, address: int, size: int) -> bytes:
        """Copy bytes from the GPU, and wait for it."""
        content = ctypes.create_string_buffer(max(size, 1))
        self._call("cuMemcpyDtoHAsync_v2", content, c_uint64(address), c_size_t(size), c_void_p(self.stream))
        self.synchronise()
        return content.raw[:size]

    def synchronise(self) -> None:
        """Wait for all that the stream was given."""
        self._call("cuStreamSynchronize", c_void_p(self.stream))

    @contextmanager
    def event(self) -> Iterator[c_void_p]:
        """An event with a time."""
        event = c_void_p()
        self._call("cuEventCreate", byref(event), 0)
        try:
            yield event
        finally:
            self._call("cuEventDestroy_v2", event)

    def record(self, event: c_void_p) -> None:
        """Have the stream take the time when it comes to this point."""
        self._call("cuEventRecord", event, c_void_p(self.stream))

    def milliseconds(self, start: c_void_p, end: c_void_p) -> float:
        """The time between two events, which the stream has passed."""
        found = c_float()
        self._call("cuEventElapsedTime", byref(found), start, end)
        return found.value

    @contextmanager
    def capture(self, record: Any) -> Iterator[c_void_p]:
        """What the call ``record()`` gives to the stream, as a graph that can be launched."""
        graph, executable = c_void_p(), c_void_p()
        self._call("cuStreamBeginCapture_v2", c_void_p(self.stream), _CAPTURE_RELAXED)
        try:
            record()
        finally:
            self._call("cuStreamEndCapture", c_void_p(self.stream), byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", byref(executable), graph, c_uint64(0))
            try:
                yield executable
            finally:
                self._call("cuGraphExecDestroy", executable)
        finally:
            self._call("cuGraphDestroy", graph)

    def launch(self, executable: c_void_p) -> None:
        """Give a graph to the stream."""
        self._call("cuGraphLaunch", executable, c_void_p(self.stream))
