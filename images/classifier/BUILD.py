from enginewright import files_layer, image

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
