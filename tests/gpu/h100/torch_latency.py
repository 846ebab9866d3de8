"""How long PyTorch takes on a GPU for the networks that measure.py makes engines of:

    python torch_latency.py FOLDER JSON SECONDS

FOLDER has MODEL/net.py. The weights are drawn: what a network takes does not depend on them. Inputs are on the GPU, the time is
between two events, as latency_test() measures it. Eager and compiled, with CUDA graphs (mode "reduce-overhead"), float32 with TF32
allowed, as TensorRT has it, and float16. After SECONDS no further combination is begun.
"""

import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path

import torch

folder, out, limit = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
began = time.monotonic()
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
torch.backends.cudnn.benchmark = True
BATCHES, WARMUP, RUNS = (1, 8, 32), 20, 100


def network(model: str) -> torch.nn.Module:
    """The network that a net.py builds."""
    spec = importlib.util.spec_from_file_location(f"{model}_net", folder / model / "net.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build().eval().cuda()


def inputs(model: str, batch: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """What a network takes, of the sizes that the engines are timed with."""
    if model == "minilm":
        return [torch.ones((batch, 64), dtype=torch.int64, device="cuda") for _ in range(2)]
    return [torch.zeros((batch, 3, 224, 224), dtype=dtype, device="cuda").to(memory_format=torch.channels_last)]


def latency(run, given) -> dict[str, float]:
    """Median and 99th percentile, in milliseconds."""
    for _ in range(WARMUP):
        run(*given)
    torch.cuda.synchronize()
    times = []
    for _ in range(RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(*given)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return {"p50_ms": round(statistics.median(times), 4), "p99_ms": round(sorted(times)[RUNS * 99 // 100 - 1], 4)}


results: dict = {"torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "latency": []}
with torch.no_grad():
    for dtype in (torch.float16, torch.float32):
        for model in ("efficientnet_lite0", "minilm"):
            for way in ("eager", "compile"):
                net = network(model).to(dtype)
                if model != "minilm":
                    net = net.to(memory_format=torch.channels_last)
                for batch in BATCHES:
                    if time.monotonic() - began > limit:
                        print("out of time:", way, model, dtype, batch, flush=True)
                        continue
                    given, since = inputs(model, batch, dtype), time.monotonic()
                    run = net
                    if way == "compile":
                        torch._dynamo.reset()
                        run = torch.compile(net, mode="reduce-overhead", dynamic=False)
                        for each in given:
                            torch._dynamo.mark_static_address(each)  # else each run copies its inputs
                    row = {"way": way, "model": model, "precision": str(dtype).removeprefix("torch."), "batch": batch}
                    try:
                        row |= latency(run, given)
                    except Exception as error:
                        row["error"] = repr(error)[:300]
                    row["seconds"] = round(time.monotonic() - since, 1)
                    results["latency"].append(row)
                    print(json.dumps(row), flush=True)
                    out.write_text(json.dumps(results, indent=1) + "\n")
