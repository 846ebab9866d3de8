from enginewright import accuracy_test, fp16, int8, latency_test, onnx_file, tensorrt_engine

LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.99}

onnx_file(name="fp32", src="model.onnx", dims={"batch": (1, 8, 32)}, reference="reference.npz")
fp16(name="fp16", model=":fp32")
int8(name="int8", model=":fp32", calibration="calibration.npz")

for precision, cosine in LEAST_COSINE.items():
    tensorrt_engine(name=precision + "_engine", model=":" + precision, archs=["H100"], backend="tensorrt")
    accuracy_test(name=precision + "_accuracy", engine=f":{precision}_engine_sm_90", reference=":fp32", cosine=cosine)
    for batch in (1, 8, 32):
        latency_test(name=f"{precision}_latency_{batch}", engine=f":{precision}_engine_sm_90", batch=batch)
