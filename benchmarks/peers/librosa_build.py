"""The original's method, recordings to training data, as a separate program: see samplecnn.bench.peers.

    python librosa_build.py LIST OUT RATE SECONDS WINDOW COUNT

LIST names one recording per line. Each turn processes the next COUNT of them: librosa decodes, resamples with resampy
("kaiser_best", librosa's default at the time of the original), short clips are extended by repeating samples, and the
segments go to the file OUT as float32. The protocol buffers and checksums that the original also writes are left out,
in its favour. Needs librosa and resampy, and does not import samplecnn.
"""

import json
import sys
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path

import librosa
import numpy as np
import resampy  # noqa: F401 (librosa imports it on use)

recordings = cycle(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())
out, rate, seconds = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
window, count = int(sys.argv[5]), int(sys.argv[6])
length = int(seconds * rate) if seconds else None  # 0: the whole recording

print(json.dumps({"librosa": version("librosa"), "resampy": version("resampy")}), flush=True)
for _ in sys.stdin:
    with out.open("wb") as file:
        for path in islice(recordings, count):
            wave, _ = librosa.load(path, sr=rate, duration=seconds or None, res_type="kaiser_best")
            wanted = length or max(len(wave), window)
            if len(wave) < wanted:
                wave = np.repeat(wave, wanted // len(wave) + 1)[:wanted]
            for start in range(0, wanted - window + 1, window):
                file.write(wave[start : start + window].astype(np.float32).tobytes())
    print(json.dumps({"units": count}), flush=True)
