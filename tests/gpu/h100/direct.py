"""One engine by TensorRT's own calls, without Enginewright, as somebody would write them: what measure.py compares with.

    python direct.py MODEL.onnx OUT.engine CACHE '{"flags": ["FP16"], "profile": {"image": [[1, 3, 224, 224], ...]}}'

CACHE is a timing cache to start from, if it is there, and what was measured in the end. Prints the seconds of each step as JSON.
"""

import json
import sys
import time
from pathlib import Path

began = time.monotonic()
import tensorrt as trt  # noqa: E402

model, out, kept, options = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4])
seconds = {"import": time.monotonic() - began}


def step(name: str) -> None:
    """Note how long it has been since the last step."""
    seconds[name] = time.monotonic() - began - sum(seconds.values())


log = trt.Logger(trt.Logger.WARNING)
trt.init_libnvinfer_plugins(log, "")
builder = trt.Builder(log)
step("builder")
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
parser = trt.OnnxParser(network, log)
if not parser.parse(model.read_bytes()):
    sys.exit("\n".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
step("parse")
config = builder.create_builder_config()
config.set_tactic_sources(0)
for feature in ("FASTER_DYNAMIC_SHAPES_0805", "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"):
    config.set_preview_feature(getattr(trt.PreviewFeature, feature), True)
config.set_flag(trt.BuilderFlag.ENABLE_TACTIC_HEURISTIC)
for flag in options["flags"]:
    config.set_flag(getattr(trt.BuilderFlag, flag))
profile = builder.create_optimization_profile()
for name, shapes in options["profile"].items():
    profile.set_shape(name, *map(tuple, shapes))
config.add_optimization_profile(profile)
config.set_timing_cache(config.create_timing_cache(kept.read_bytes() if kept.exists() else b""), False)
engine = builder.build_serialized_network(network, config)
if engine is None:
    sys.exit("TensorRT could not build the engine")
step("build")
runtime = trt.Runtime(log)
if runtime.deserialize_cuda_engine(engine) is None:
    sys.exit("TensorRT could not load the engine")
step("load")
out.write_bytes(engine)
kept.write_bytes(config.get_timing_cache().serialize())
step("write")
print(json.dumps({name: round(value, 3) for name, value in seconds.items()}))
