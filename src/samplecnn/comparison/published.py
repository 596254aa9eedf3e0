"""Published figures, for the data set and the split that they were measured on."""

from collections.abc import Mapping
from typing import Any

from samplecnn.datasets.registry import REGISTRY
from samplecnn.task import Task
from samplecnn.training.options import TrainOptions

# ROC-AUC on MagnaTagATune's 50 tags, 15,250 / 1,529 / 4,332 clips, by block and --multi, 128 features: Kim, Lee, Nam:
# Sample-level CNN Architectures for Music Auto-tagging Using Raw Waveforms (ICASSP 2018, poster).
MTT_ROC_AUC = {
    ("basic", False): 0.9055, ("basic", True): 0.9077, ("se", False): 0.9083, ("se", True): 0.9111,
    ("res1", False): 0.9048, ("res1", True): 0.9037, ("res2", False): 0.9061, ("res2", True): 0.9098,
    ("rese1", False): 0.9066, ("rese1", True): 0.9053, ("rese2", False): 0.9102, ("rese2", True): 0.9113,
}  # fmt: skip
# Of the whole data sets' test splits.
TEST_CLIPS = {"mtt": 4332, "scd": 11_005, "dcs": 1103}
# Options that make another network than the paper's.
VARIANTS = ("pool_size", "filter_size", "first_size", "pooling", "frontend")
MISSING_SHARE = 0.02  # of the test clips that may be missing, because their recordings are damaged
NOTES = {
    "mtt": "published: ICASSP 2018 (poster), on the split of 15,250 / 1,529 / 4,332 clips",
    "scd": "published on this test set, accuracy: AST 0.981, x-vector (SpeechBrain) 0.974, DS-TC-ResNet (75 thousand "
    "parameters) 0.969, S5 on raw waveforms 0.958",
    "dcs": "published on this test set, F1: baseline of DCASE 2017 task 4A 0.182, ensemble on raw waveforms 0.473",
}


def is_published_split(dataset: str, test_clips: int, folds: object, task: Task | None = None) -> bool:
    """Whether scores on so many test clips compare with published ones: those of the data set's own, whole split.

    Args:
        dataset, test_clips: its name, and how many were built.
        folds: None: the split as built.
        task: of the build, for figures of networks; None: for any window and sample rate.
    """
    whole = TEST_CLIPS.get(dataset)
    if whole is not None and task is not None:
        own = REGISTRY[dataset].task()
        if (own.window, own.sample_rate) != (task.window, task.sample_rate):
            return False
    return whole is not None and folds is None and whole * (1 - MISSING_SHARE) <= test_clips <= whole


def published_roc_auc(dataset: str, options: Mapping[str, Any]) -> float | None:
    """Of a block, with or without --multi, at the paper's width; None if nothing is published.

    Args:
        dataset: its name.
        options: of training, as `TrainOptions.to_dict` has them.
    """
    fields = TrainOptions.__dataclass_fields__
    if dataset != "mtt" or any(options.get(name, fields[name].default) != fields[name].default for name in VARIANTS):
        return None
    return MTT_ROC_AUC.get((str(options.get("block")), bool(options.get("multi"))))
