from enginewright import files_layer, image, provenance, sbom, sign

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

# What is said of the image, for others to check. To sign it: docs/signatures.md.
provenance(name="provenance", subject=":image")
sbom(name="sbom", image=":image", licenses={"models/efficientnet_lite0:weights": "Apache-2.0"})
sign(name="signed", subject=":image", attestations=[":provenance", ":sbom"], key="env:SIGNING_KEY")
