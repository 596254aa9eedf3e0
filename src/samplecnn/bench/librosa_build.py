"""The original's way from recordings to training data, as a program of its own: see `rounds.Peer`.

    python librosa_build.py LIST OUT RATE SECONDS WINDOW COUNT

LIST names a recording a line. Every turn takes the next COUNT of them: librosa decodes and resamples with resampy
("kaiser_best", librosa's default in the original's time), clips too short are filled up by repeating samples, and the
segments go to the file OUT as float32. Their protocol buffers and checksums, which the original writes too, are left
out, in its favour. Needs librosa and resampy, and imports nothing of samplecnn.
"""

import json
import sys
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path

import librosa  # type: ignore[import-not-found,import-untyped]
import numpy as np
import resampy  # type: ignore[import-not-found,import-untyped]  # noqa: F401 (librosa asks for it when it is used)

recordings = cycle(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())
out, rate, seconds = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
window, count = int(sys.argv[5]), int(sys.argv[6])
length = int(seconds * rate) if seconds else None  # 0: all of a recording

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
