"""Tags a WAV file with a model from `samplecnn export MODEL model.onnx --to onnx`, by numpy and onnxruntime alone.

python onnx_runner.py model.onnx sound.wav
"""

import json
import os
import sys
import wave

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime 1.32 and later collects usage data


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    import onnxruntime

    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    classes, window = json.loads(about["classes"]), int(about["window"])
    with wave.open(sys.argv[2], "rb") as file:
        if (file.getframerate(), file.getsampwidth()) != (int(about["sample_rate"]), 2):
            sys.exit(f"{sys.argv[2]}: this model takes WAV files of 16 bits at {about['sample_rate']} Hz")
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    sound = frames.astype(np.float32).mean(axis=1) / 32768
    count = max(-(-len(sound) // window), 1)
    windows = np.resize(np.pad(sound, (0, count * window - len(sound))), (count, window))
    probabilities, _ = session.run(["probabilities", "embedding"], {"wave": windows.astype(np.float32)})
    scores = probabilities.mean(axis=0)
    for index in np.argsort(-scores)[:5]:
        print(f"{scores[index]:.3f} {classes[index]}")


if __name__ == "__main__":
    main()
