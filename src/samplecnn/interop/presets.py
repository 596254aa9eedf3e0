"""Class names of published models, in the order of their outputs: the values of `samplecnn convert --classes`.

mtt-numpy-1.25: the classes of mtt as the original's code orders them with NumPy 1.25 or newer (`datasets.mtt`).
mtat: MagnaTagATune's 50 most frequent tags, descending by count, equal counts in the order of numpy's scalar argsort
(split/mtat of minzwon/sota-music-tagging-models; the same list in jordipons/musicnn and Spijkervet/CLMR).
msd: the Last.fm tags of the Million Song Dataset, descending by count (50tagList.txt of jongpillee's split).
jamendo: MTG-Jamendo's top 50 in alphabetical order, which scikit-learn's LabelBinarizer gives them.
"""

from typing import NamedTuple

from samplecnn import datasets
from samplecnn.datasets.mtt import TAGS as MTT
from samplecnn.datasets.mtt import TAGS_NUMPY_1_25
from samplecnn.task import Kind

MTAT = MTT[::-1]

MSD = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock", "jazz",
    "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow", "electronica",
    "80s", "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic",
    "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy",
    "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad", "House", "happy",
)  # fmt: skip

_GENRES = (
    "alternative", "ambient", "atmospheric", "chillout", "classical", "dance", "downtempo", "easylistening",
    "electronic", "experimental", "folk", "funk", "hiphop", "house", "indie", "instrumentalpop", "jazz", "lounge",
    "metal", "newage", "orchestral", "pop", "popfolk", "poprock", "reggae", "rock", "soundtrack", "techno", "trance",
    "triphop", "world",
)  # fmt: skip
_INSTRUMENTS = (
    "acousticguitar", "bass", "computer", "drummachine", "drums", "electricguitar", "electricpiano", "guitar",
    "keyboard", "piano", "strings", "synthesizer", "violin", "voice",
)  # fmt: skip
_MOODS = ("emotional", "energetic", "film", "happy", "relaxing")
JAMENDO = (
    *(f"genre---{name}" for name in _GENRES),
    *(f"instrument---{name}" for name in _INSTRUMENTS),
    *(f"mood/theme---{name}" for name in _MOODS),
)


class Preset(NamedTuple):
    """A known list of classes.

    Args:
        classes: names, in the order of the outputs.
        kind: "multilabel" (sigmoid) or "multiclass" (softmax).
        clip_seconds: seconds of each clip that are used; None: all of it.
    """

    classes: tuple[str, ...]
    kind: Kind = "multilabel"
    clip_seconds: float | None = None


PRESETS = {
    "mtat": Preset(MTAT, clip_seconds=29.0),
    "msd": Preset(MSD, clip_seconds=29.0),
    "jamendo": Preset(JAMENDO),
    **{
        name: Preset(task.classes, task.kind, task.clip_seconds)
        for name in ("mtt", "scd", "dcs")
        for task in (datasets.REGISTRY[name].task(),)
    },
    "mtt-numpy-1.25": Preset(TAGS_NUMPY_1_25, clip_seconds=29.0),
}
