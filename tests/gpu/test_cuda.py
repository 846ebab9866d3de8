"""The driver's interface, on a GPU: memory, events and graphs."""

from __future__ import annotations

import ctypes

import pytest

from enginewright.errors import ActionError
from enginewright.tensorrt.cuda import Cuda, architectures

pytestmark = pytest.mark.skipif(not architectures(), reason="there is no GPU")

SIZE = 1 << 20


@pytest.fixture(scope="module")
def cuda() -> Cuda:
    return Cuda(architectures()[0])


def fill(cuda: Cuda, address: int, value: int) -> None:
    """Have the stream write to memory."""
    cuda._call("cuMemsetD8Async", ctypes.c_uint64(address), value, ctypes.c_size_t(SIZE), ctypes.c_void_p(cuda.stream))


def test_bytes_go_there_and_back(cuda: Cuda) -> None:
    content = bytes(range(256)) * 16
    with cuda.memory(len(content)) as address:
        cuda.upload(address, content)
        assert cuda.download(address, len(content)) == content
    assert cuda.name


def test_a_graph_does_what_was_recorded_when_it_is_launched(cuda: Cuda) -> None:
    with cuda.memory(SIZE) as address, cuda.event() as start, cuda.event() as end:
        cuda.upload(address, bytes(SIZE))
        with cuda.capture(lambda: fill(cuda, address, 7)) as graph:
            assert cuda.download(address, 2) == b"\0\0"
            cuda.record(start)
            cuda.launch(graph)
            cuda.record(end)
            cuda.synchronise()
        assert cuda.download(address, SIZE) == b"\7" * SIZE
        assert 0 < cuda.milliseconds(start, end) < 1000


def test_more_memory_than_there_is(cuda: Cuda) -> None:
    with pytest.raises(ActionError, match="the GPU ran out of memory"), cuda.memory(1 << 50):
        pass


def test_another_architecture() -> None:
    with pytest.raises(ActionError, match=r"needs a GPU of architecture sm_10, and there are: sm_"):
        Cuda("sm_10")
