"""Sessions, with a driver and an engine that stand in for the real ones: what goes where, and in which order.

The driver's memory is this process's own, and the engine doubles its input. That a real engine runs is for tests/gpu to show.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from enginewright.errors import ActionError
from enginewright.tensorrt.backend import Backend
from enginewright.tensorrt.cuda import Cuda
from enginewright.tensorrt.run import Session

FACTS: dict[str, Any] = {
    "io": [
        {"name": "x", "mode": "input", "dtype": "float32", "shape": ["batch", 2]},
        {"name": "y", "mode": "output", "dtype": "float32", "shape": ["batch", 2]},
    ],
    "profiles": [{"x": [[1, 2], [1, 2], [4, 2]]}, {"x": [[5, 2], [8, 2], [8, 2]]}],
}


class Driver(Cuda):
    """A GPU whose memory is that of this process, and whose clock ticks once for each event."""

    def __init__(self) -> None:
        self.stream = 7
        self.name = "a stand-in"
        self.calls: list[str] = []
        self.held: dict[int, Any] = {}
        self.recorded: Any = None

    def _call(self, function: str, *arguments: Any) -> None:
        self.calls.append(function)

    @contextmanager
    def memory(self, size: int) -> Iterator[int]:
        buffer = ctypes.create_string_buffer(max(size, 1))
        address = ctypes.addressof(buffer)
        self.held[address] = buffer
        yield address
        del self.held[address]

    def upload(self, address: int, content: bytes) -> None:
        ctypes.memmove(address, content, len(content))

    def download(self, address: int, size: int) -> bytes:
        return ctypes.string_at(address, size)

    def milliseconds(self, start: Any, end: Any) -> float:
        return 0.25

    @contextmanager
    def capture(self, record: Any) -> Iterator[Any]:
        record()
        self.recorded = record
        yield "graph"

    def launch(self, executable: Any) -> None:
        self.calls.append("launch")
        self.recorded()


class Context:
    """An execution context of an engine that doubles x."""

    active_optimization_profile = 0

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.runs = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return len(shape) == 2 and shape[1] == 2

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        assert stream == 7
        self.active_optimization_profile = number
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.runs += 1
        count = self.shape[0] * 2
        values = struct.unpack(f"{count}f", ctypes.string_at(self.addresses["x"], 4 * count))
        ctypes.memmove(self.addresses["y"], struct.pack(f"{count}f", *(2 * value for value in values)), 4 * count)
        return True


@pytest.fixture
def session() -> Session:
    engine = SimpleNamespace(create_execution_context=Context)
    return Session(Backend("tensorrt", SimpleNamespace(__version__="8.5.3.1")), engine, FACTS, Driver())


@pytest.mark.parametrize(("batch", "profile"), [(3, 0), (8, 1)])
def test_outputs_come_from_the_inputs_that_were_given(session: Session, batch: int, profile: int) -> None:
    values = [float(i) for i in range(2 * batch)]
    found = session.run({"x": struct.pack(f"{2 * batch}f", *values)}, {"x": (batch, 2)})
    content, shape = found.pop("y")
    assert not found and shape == (batch, 2)
    assert list(struct.unpack(f"{2 * batch}f", content)) == [2 * value for value in values]
    assert session._context.active_optimization_profile == profile
    assert session.cuda.held == {}  # type: ignore[attr-defined]


@pytest.mark.parametrize("graph", [False, True])
def test_each_run_is_timed(session: Session, graph: bool) -> None:
    assert session.time({"x": (4, 2)}, warmup=3, iterations=5, graph=graph) == [0.25] * 5
    # One before all others; one that is recorded, which a real driver would not run.
    assert session._context.runs == 1 + graph + 3 + 5
    assert session.cuda.calls.count("launch") == (8 if graph else 0)  # type: ignore[attr-defined]


def test_what_does_not_fit_is_refused(session: Session) -> None:
    with pytest.raises(ActionError, match=r"input x has 4 bytes, and \(3, 2\) takes 24"):
        session.run({"x": bytes(4)}, {"x": (3, 2)})
    with pytest.raises(ActionError, match=r"the engine takes no input x of shape \(3, 5\)"):
        session.run({"x": bytes(60)}, {"x": (3, 5)})


def test_a_gpu_without_room_for_an_engine() -> None:
    engine = SimpleNamespace(create_execution_context=lambda: None)
    with pytest.raises(ActionError, match="the GPU has no room for running the engine"):
        Session(Backend("tensorrt", SimpleNamespace(__version__="8.5.3.1")), engine, FACTS, Driver())
