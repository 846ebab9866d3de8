from enginewright import command_check, files_layer, http_check, image, image_test, provenance, sbom, sign

files_layer(name="app", files={"/app/serve.py": "serve.py"})
image(
    name="image",
    base="images/middleware:middleware",
    # From what changes least to what changes most: a change of the app is one small layer.
    layers=["models/efficientnet_lite0:layer", ":app"],
    entrypoint=["/opt/venv/bin/python", "/app/serve.py"],
    env={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
    user="65534:65534",
    exposed_ports=["8000"],
)
image_test(
    name="test",
    image=":image",
    checks=[
        http_check("/healthz", json={"status": "ok"}),
        http_check("/predict", body="dist://scikit-learn/sklearn/datasets/images/china.jpg", json={"class": 698}),
        http_check("/predict", body="serve.py", status=400, text="is no photograph"),
        command_check("/opt/venv/bin/python", "-c", "import ssl; print(ssl.create_default_context().get_ca_certs() != [])", text="True"),
    ],
)

# What is said of the image, for others to check. To sign it: docs/signatures.md.
provenance(name="provenance", subject=":image")
sbom(name="sbom", image=":image", licenses={"models/efficientnet_lite0:weights": "Apache-2.0"})
sign(name="signed", subject=":image", attestations=[":provenance", ":sbom"], key="env:SIGNING_KEY")
