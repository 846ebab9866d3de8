"""Serves the image classifier over HTTP: GET /healthz, and POST /predict with a photograph (JPEG, PNG, ...) as the body."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from numpy.typing import NDArray
from photographs import prepare
from PIL import Image, UnidentifiedImageError
from starlette.concurrency import run_in_threadpool

MODEL = Path(os.environ.get("MODEL", "/models/efficientnet_lite0"))
LARGEST_BODY = 20 << 20
"""Bytes of a request that are read at most."""
SHOWN = 5
"""Classes in an answer."""


class Classifier:
    """The ONNX model in ``folder``, on CPUs."""

    def __init__(self, folder: Path) -> None:
        self._session = onnxruntime.InferenceSession(folder / "onnx.onnx", providers=["CPUExecutionProvider"])
        self._check(folder / "onnx.reference.npz")

    def logits(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, 3, 224, 224) to (batch, 1000)."""
        return np.asarray(self._session.run(["logits"], {"image": image})[0])

    def _check(self, reference: Path) -> None:
        """Refuse to serve where the model does not compute on this processor what PyTorch computed when it was built."""
        with np.load(reference) as known:
            np.testing.assert_allclose(self.logits(known["0/in/image"]), known["0/out/logits"], atol=1e-2)


app = FastAPI(title="EfficientNet-Lite0", docs_url=None, redoc_url=None)
try:
    classifier = Classifier(MODEL)
except Exception as error:  # whatever ONNX Runtime raises
    sys.exit(f"the model in {MODEL} cannot be served: {error}")


@app.get("/healthz")
def healthz() -> dict[str, str]:
    """The model is loaded, and has been checked."""
    return {"status": "ok"}


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """The classes of ImageNet-1k that the photograph most likely shows: ``class``, the first, and ``top``, each with its probability."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"expected a photograph of at most {LARGEST_BODY} bytes")
    return await run_in_threadpool(classify, bytes(body))


def classify(body: bytes) -> dict[str, Any]:
    """What `predict` answers."""
    try:
        image = prepare(io.BytesIO(body))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise HTTPException(400, f"the body is no photograph that can be read: {error}") from None
    logits = classifier.logits(image)[0]
    likelihood = np.exp(logits - logits.max())
    likelihood /= likelihood.sum()
    best = np.argsort(-likelihood)[:SHOWN]
    return {"class": int(best[0]), "top": [{"class": int(each), "probability": round(float(likelihood[each]), 6)} for each in best]}


if __name__ == "__main__":
    uvicorn.run(app, host="0.0.0.0", port=int(os.environ.get("PORT", "8000")), log_level="info")
