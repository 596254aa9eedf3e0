"""A small data set of generated recordings: the whole package end to end in minutes, without a network."""

import io
import wave
from pathlib import Path
from typing import Any

from samplecnn.datasets.base import SPLITS, Clip, Published, Table
from samplecnn.datasets.labels import LabelEncoder
from samplecnn.datasets.manifest_reader import read_manifest
from samplecnn.errors import UsageError
from samplecnn.parsing import anything, find_object
from samplecnn.system.files import PART, naming, write_json, write_text
from samplecnn.task import Task

LABELS, SETTINGS = "labels.csv", "generated.json"
REMEDY = "run `samplecnn demo`, which generates the recordings"
CLASSES = ("band", "bell", "chord", "clicks", "noise", "pulse", "sine", "sweep_down", "sweep_up", "tremolo")
WINDOW = 6561  # samples: 3^8, which the first convolution and seven blocks reduce to one frame
CLIPS_PER_CLASS = 120
VERSION = 2  # of the sounds; increased when they change, so that older recordings are replaced


class Demo:
    """raw/CLASS/NNNN.wav (16 bit, mono, 22,050 Hz, one second) and raw/labels.csv (path,labels,split)."""

    name = "demo"
    clips_per_shard = 100
    published: Published | None = None

    def task(self) -> Task:
        return Task(
            name=self.name, classes=CLASSES, kind="multiclass", sample_rate=22050, window=WINDOW, clip_seconds=0.9
        )

    def table(self, raw: Path) -> Table:
        """All generated recordings; a clip's id is CLASS/NNNN.wav."""
        path = raw / LABELS
        if not path.is_file():
            raise UsageError(f"{path}: not found; {REMEDY}")
        clips, encoder = [], LabelEncoder(CLASSES)
        for row in read_manifest(path):
            unknown = [label for label in row.labels if label not in encoder]
            if unknown or len(row.labels) != 1 or row.split not in SPLITS:
                raise UsageError(
                    f"{path}, {row.place}: not a row of the generated recordings; remove the file and {REMEDY}"
                )
            clips.append(Clip(row.path, raw / row.path, row.split, encoder.encode(row.labels)))
        if not clips:
            raise UsageError(f"{path}: it lists no recordings; remove the file and {REMEDY}")
        return Table(self.task(), clips, measured=True)


def generate(raw: Path, clips_per_class: int = CLIPS_PER_CLASS, seed: int = 0) -> int:
    """Writes the recordings and, last, their labels; returns the number of recordings written.

    Of every class 70 % are for training, 15 % for validation, 15 % for testing. Equal arguments give equal bytes. An
    interrupted run is resumed; recordings of other settings are removed first.

    Args:
        raw: folder to write to (DATA/demo/raw).
        clips_per_class: 3 to 10,000; every split gets at least one.
        seed: of the sounds.

    Raises:
        UsageError: a number of clips out of range.
    """
    from samplecnn.datasets import synthesis
    from samplecnn.system.progress import Progress

    raw = Path(raw)
    if not 3 <= clips_per_class <= 10_000:
        raise UsageError(f"{clips_per_class} clips per class: expected 3 to 10000")
    settings = {"version": VERSION, "clips_per_class": clips_per_class, "seed": seed}
    if _settings(raw) != settings:
        _remove(raw)
        write_json(raw / SETTINGS, settings)
    names = [(kind, index, f"{kind}/{index:04d}.wav") for index in range(clips_per_class) for kind in CLASSES]
    samples = int(synthesis.SECONDS * synthesis.RATE)
    missing = [row for row in names if not _is_whole(raw / row[2], samples)]
    if missing:
        with Progress(len(names), "generate demo", "clips", done=len(names) - len(missing)) as progress:
            for kind, index, name in missing:
                _write_wav(raw / name, synthesis.render(kind, seed, index), synthesis.RATE)
                progress.advance()
    rows = [f"{name},{kind},{_split(index, clips_per_class)}\n" for kind, index, name in names]
    text = "path,labels,split\n" + "".join(rows)
    if not _has_text(raw / LABELS, text):
        write_text(raw / LABELS, text)
    return len(missing)


def ensure_generated(raw: Path) -> None:
    """Generates the recordings unless a complete set of this version is there, of whatever size and seed."""
    settings = _settings(raw)
    if not (raw / LABELS).is_file() or not isinstance(settings, dict) or settings.get("version") != VERSION:
        generate(raw)


def _split(index: int, clips: int) -> str:
    """70 % train, 15 % val, 15 % test by number: the recordings are random, so no shuffling is needed."""
    held_out = max(1, round(0.15 * clips))
    return "test" if index < held_out else "val" if index < 2 * held_out else "train"


def _settings(raw: Path) -> Any:
    return find_object(raw / SETTINGS, anything())


def _remove(raw: Path) -> None:
    """Removes what an earlier run generated, labels first, and nothing else."""
    (raw / LABELS).unlink(missing_ok=True)
    for kind in CLASSES:
        for path in (raw / kind).glob("[0-9][0-9][0-9][0-9].wav"):
            path.unlink()


def _is_whole(path: Path, samples: int) -> bool:
    try:
        return path.stat().st_size == 44 + 2 * samples  # the header of a plain wav file is 44 bytes
    except OSError:
        return False


def _has_text(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False


def _write_wav(path: Path, samples: Any, rate: int) -> None:
    """Writes int16 samples [samples] under a temporary name, then renames, without waiting for the disk.

    After a power cut a file may be short; the next run recognises it by its size and writes it again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    memory = io.BytesIO()
    with wave.open(memory, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    temporary = path.with_suffix(PART)
    try:
        with naming(path):
            temporary.write_bytes(memory.getbuffer())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
