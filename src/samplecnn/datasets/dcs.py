"""DCASE 2017 task 4: weakly labelled sounds for smart cars, 17 classes, 10 s."""

from collections.abc import Callable
from pathlib import Path

from samplecnn.datasets.base import Clip, Published, Table
from samplecnn.datasets.label_files import read_rows
from samplecnn.datasets.labels import LabelEncoder
from samplecnn.errors import UsageError
from samplecnn.task import Task

REMEDY = "run `samplecnn prepare dcs` to download it"

CLASSES = (
    "Train horn",
    "Air horn, truck horn",
    "Car alarm",
    "Reversing beeps",
    "Ambulance (siren)",
    "Police car (siren)",
    "Fire engine, fire truck (siren)",
    "Civil defense siren",
    "Screaming",
    "Bicycle",
    "Skateboard",
    "Car",
    "Car passing by",
    "Bus",
    "Truck",
    "Motorcycle",
    "Train",
)

# (label list, folder of its recordings); the names are those of the published archives.
TRAINING = (
    "groundtruth_weak_label_training_set.csv",
    "unbalanced_train_segments_training_set_audio_formatted_and_segmented_downloads",
)
TESTING = (
    "groundtruth_weak_label_testing_set.csv",
    "unbalanced_train_segments_testing_set_audio_formatted_and_segmented_downloads",
)
EVALUATION = ("groundtruth_weak_label_evaluation_set.csv", "evaluation_set_formatted_audio_segments")

VALIDATION_SHARE, VALIDATION_SEED = 0.1, 123  # the original: DataFrame.sample(frac=0.1, random_state=123) per class


class Dcase2017:
    """Three tab-separated lists without header (file, start, end, label; one row per label); audio is `Y` + file."""

    name = "dcs"
    clips_per_shard = 300

    @property
    def published(self) -> Published | None:
        from samplecnn.datasets.published import DCS

        return DCS

    def task(self) -> Task:
        return Task(
            name=self.name,
            classes=CLASSES,
            kind="multilabel",
            sample_rate=22050,
            window=22050,
            clip_seconds=10.0,
            mean=-0.0003320679534226656,
            std=0.20514629781246185,
            threshold=0.1,
        )

    def table(self, raw: Path) -> Table:
        """Train and validation from the training and testing lists, test from the evaluation list; id: file name."""
        development, test = _Labels(), _Labels()
        development.read(raw, *TRAINING)
        development.read(raw, *TESTING)
        test.read(raw, *EVALUATION)
        both = next((file for file in test.labels if file in development.labels), None)
        if both is not None:
            raise UsageError(f"{raw / EVALUATION[0]}: {both} is also listed for training; {REMEDY}")
        validation = validation_files(development.rows)
        clips = development.clips(lambda file: "val" if file in validation else "train")
        return Table(self.task(), clips + test.clips(lambda file: "test"))


class _Labels:
    """The contents of one or more lists: `rows` as (file, label) in list order, folder and labels by file."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.folder: dict[str, Path] = {}
        self.labels: dict[str, list[str]] = {}
        self.encoder = LabelEncoder(CLASSES)

    def read(self, raw: Path, list_name: str, folder: str) -> None:
        path = raw / list_name
        before = len(self.rows)
        for line, row in read_rows(path, REMEDY, "\t"):
            if len(row) != 4:
                raise UsageError(f"{path}, line {line}: {len(row)} columns, expected 4 (file, start, end, label)")
            file, label = row[0].strip(), row[3].strip()
            if label not in self.encoder:
                raise UsageError(f"{path}, line {line}: unknown label {label!r}")
            if not file or "/" in file or "\\" in file:
                raise UsageError(f"{path}, line {line}: {file!r} is not a file name")
            self.rows.append((file, label))
            self.folder.setdefault(file, raw / folder)
            self.labels.setdefault(file, []).append(label)
        if len(self.rows) == before:
            raise UsageError(f"{path}: it lists no recordings; {REMEDY}")

    def clips(self, split: Callable[[str], str]) -> list[Clip]:
        return [
            Clip(file, self.folder[file] / f"Y{file}", split(file), self.encoder.encode(labels))
            for file, labels in self.labels.items()
        ]


def validation_files(rows: list[tuple[str, str]]) -> set[str]:
    """The files of the validation set: per class, a tenth of its rows as pandas 1.x and 2.x draw them with seed 123.

    Args:
        rows: (file, label), in the order of the lists.

    pandas asks RandomState(123).choice for round(0.1 * n) positions without replacement, where round is
    Python's (half to even). RandomState's numbers never change, so the result is the original's validation set.
    """
    from numpy.random import RandomState

    files_of: dict[str, list[str]] = {}
    for file, label in rows:
        files_of.setdefault(label, []).append(file)
    validation: set[str] = set()
    for files in files_of.values():
        size = round(VALIDATION_SHARE * len(files))
        chosen = RandomState(VALIDATION_SEED).choice(len(files), size=size, replace=False)
        validation.update(files[position] for position in chosen)
    return validation
