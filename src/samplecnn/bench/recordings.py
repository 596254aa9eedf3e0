"""Recordings for benchmarks: generated from a seed with the format of MagnaTagATune, or those of a data set."""

from pathlib import Path

import numpy as np
import soundfile

from samplecnn.datasets import REGISTRY, open_dataset
from samplecnn.datasets.base import Clip, Table
from samplecnn.errors import UsageError

RATE, SECONDS = 16000, 29.12  # Hz and length of MagnaTagATune's clips


def music(seed: int, seconds: float = SECONDS, rate: int = RATE) -> np.ndarray:
    """Decaying notes with overtones over a little noise, float32 [seconds * rate].

    As mp3 they have about the size and the decoding time of MagnaTagATune's recordings.
    """
    rng = np.random.default_rng(seed)
    wave = 0.05 * rng.standard_normal(int(seconds * rate))
    at = 0
    while at < len(wave):
        count = min(int(rng.uniform(0.15, 0.6) * rate), len(wave) - at)
        time = np.arange(count) / rate
        pitch = 55 * 2 ** (rng.integers(0, 48) / 12)
        for overtone in range(1, 9):
            if overtone * pitch < 0.47 * rate:
                phase = rng.uniform(0, 2 * np.pi)
                wave[at : at + count] += (
                    np.exp(-3 * time) / overtone * np.sin(2 * np.pi * overtone * pitch * time + phase)
                )
        at += count
    return (0.4 * wave / np.abs(wave).max()).astype(np.float32)


def generated_recordings(folder: Path, count: int, distinct: int = 20) -> Table:
    """`count` training clips like MagnaTagATune's: `distinct` recordings, each under several ids."""
    folder.mkdir(parents=True)
    task = REGISTRY["mtt"].task()
    files = [folder / f"{number}.mp3" for number in range(min(distinct, count))]
    for number, path in enumerate(files):
        soundfile.write(path, music(number), RATE)
    return Table(
        task,
        [
            Clip(f"{number}", files[number % len(files)], "train", (number % task.num_classes,))
            for number in range(count)
        ],
    )


def dataset_recordings(dataset: str, data_dir: Path, count: int) -> Table:
    """The first `count` training recordings of a data set that exist.

    Raises:
        UsageError: no such data set, or none of its recordings exists.
    """
    source = open_dataset(dataset, data_dir)
    table = source.table()
    clips = [clip for clip in table.clips if clip.split == "train" and clip.path.is_file()][:count]
    if not clips:
        raise UsageError(f"{dataset}: none of its training recordings exists; run `samplecnn prepare {dataset}`")
    return Table(table.task, clips, table.measured)
