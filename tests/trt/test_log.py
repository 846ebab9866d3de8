"""TensorRT's messages as reasons. Those of a GPU are as others have recorded them: nothing here has one."""

from __future__ import annotations

import pytest

from enginewright.tensorrt.log import explain

ALLOCATOR = "1: [defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)"
REQUESTED = "2: [virtualMemoryBuffer.cpp::resizePhysical::127] Error Code 2: OutOfMemory (no further information)"
WORKSPACE = (
    "10: [optimizer.cpp::computeCosts::3728] Error Code 10: Internal Error (Could not find any implementation for node /Conv"
    " due to insufficient workspace. See verbose log for requested sizes.)"
)


@pytest.mark.parametrize("message", [ALLOCATOR, REQUESTED, "Requested amount of GPU memory (4294967296 bytes) could not be allocated."])
def test_a_gpu_without_memory(message: str) -> None:
    advice, said = explain([message])
    assert advice.startswith("the GPU ran out of memory: end what else runs on it, lower workspace_mib") and said == message


def test_too_little_workspace_is_named_before_the_memory_that_it_is_of() -> None:
    advice, *said = explain([WORKSPACE, ALLOCATOR])
    assert advice.startswith("a kernel needs more scratch memory than workspace_mib allows") and said == [WORKSPACE, ALLOCATOR]


def test_a_timing_that_is_not_in_the_declared_cache() -> None:
    advice, _ = explain(["Error Code 2: Internal Error (Assertion !errorOnMiss failed. )"])
    assert advice.startswith("the declared timing_cache has no timing for one of its kernels")


def test_a_part_of_a_network_that_takes_cublas() -> None:
    # As TensorRT 8.5.3.1 said on an H100 without cuBLAS.
    advice, _ = explain(
        ["10: [optimizer.cpp::computeCosts::3728] Error Code 10: Internal Error (Could not find any implementation for node"
         " {ForeignNode[embeddings.token_type_embeddings.weight.../Div_1]}.)"]
    )  # fmt: skip
    assert advice.startswith("no kernel fits this part of the network. If the log has warnings of cuBLAS")


def test_other_messages_stand_for_themselves_once() -> None:
    assert explain(["a", "b", "a"]) == ["a", "b"]
    assert explain([]) == ["TensorRT gave no reason"]
