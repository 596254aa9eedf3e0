"""A plain server of a model: FastAPI and PyTorch, as a page of documentation would write it. See benchmarks/serve.py.

    python fastapi_serve.py MODEL

Each upload is decoded and resampled in a thread of FastAPI's, and the network runs on its windows in float32, for each
request alone. It has no limits and no queue. Prints its address; needs fastapi, uvicorn, python-multipart, and
samplecnn with PyTorch for the network itself.
"""

import io
import socket
import sys

import fastapi
import numpy as np
import soundfile
import soxr
import torch
import uvicorn

import samplecnn

model = samplecnn.load(sys.argv[1]).eval()
task = model.task
app = fastapi.FastAPI()


@app.post("/v1/tag")
def tag(file: fastapi.UploadFile) -> dict[str, float]:
    try:
        wave, rate = soundfile.read(io.BytesIO(file.file.read()), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise fastapi.HTTPException(422, "not a recording") from error
    wave = soxr.resample(wave.mean(axis=1), rate, task.sample_rate)
    wave = np.pad(wave, (0, max(task.window - len(wave), 0)), mode="wrap")
    starts = [*range(0, len(wave) - task.window, task.window), len(wave) - task.window]
    windows = np.stack([wave[start : start + task.window] for start in starts])
    with torch.inference_mode():
        logits = model(torch.from_numpy((windows - task.mean) / task.std).float())
        scores = logits.sigmoid() if task.kind == "multilabel" else logits.softmax(dim=1)
    return dict(zip(task.classes, scores.mean(dim=0).tolist(), strict=True))


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
