"""Recipes: named values of the options that decide how a network is trained.

`original` is the paper's procedure. `modern` is for any other data: augmentation, one cosine cycle of AdamW, averaged
weights. Every field of a recipe is an option of its own as well, which overrides it.
"""

from dataclasses import dataclass, fields
from typing import Any

from samplecnn.errors import UsageError
from samplecnn.system.arguments import suggestion

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("stages", "cosine")
MIXINGS = ("none", "mixup", "between-class")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The options that recipes set, with the original's values as defaults. `samplecnn.train` describes each of them.

    0 for `features`, `passes` and `max_epochs`, and -1 for `warmup`, are chosen by `plan` from the data set's size.
    """

    # Network and batches.
    multi: bool = False
    features: int = 128
    dropout: float = 0.5
    batch_size: int = 23
    # Optimizer and schedule.
    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "stages"
    warmup: int = 200
    lr_decay: float = 0.2
    num_stages: int = 5
    max_epochs: int = 100
    passes: int = 1
    patience: int = 2
    # Averages of weights, and the statistics of batch norms.
    average: float = 0.0
    norm_update: float = 0.01
    norm_estimate: int = 0
    # Loss.
    label_smoothing: float = 0.0
    class_weights: bool = False
    # Augmentation.
    crop: float = 0.0
    shift: float = 0.0
    speed: float = 0.0
    gain: float = 0.0
    polarity: bool = False
    filter: float = 0.0
    noise: float = 0.0
    reverb: float = 0.0
    background: str | None = None
    mask: float = 0.0
    mixing: str = "none"
    mixing_share: float = 1.0


ORIGINAL = Recipe()
MODERN = Recipe(
    multi=True,
    features=0,
    dropout=0.2,
    batch_size=32,
    optimizer="adamw",
    lr=0.003,
    weight_decay=0.02,
    schedule="cosine",
    warmup=-1,
    num_stages=1,
    max_epochs=0,
    passes=0,
    patience=1000,
    average=1.0,
    norm_update=0.1,
    norm_estimate=1024,
    crop=1.0,
    shift=0.1,
    speed=0.25,
    gain=6.0,
    polarity=True,
    filter=6.0,
    noise=0.3,
)
RECIPES = {"original": ORIGINAL, "modern": MODERN}
PLANNED = {("features", 0), ("passes", 0), ("max_epochs", 0), ("warmup", -1)}  # values that `plan` replaces
FIELDS = tuple(field.name for field in fields(Recipe))


def values_of(name: str) -> dict[str, Any]:
    """The options that a recipe sets.

    Raises:
        UsageError: there is no such recipe.
    """
    if name not in RECIPES:
        raise UsageError(f"recipe {name!r} is unknown{suggestion(name, RECIPES)}")
    return {field: getattr(RECIPES[name], field) for field in FIELDS}


def values_text(field: str) -> str:
    """The values of a field in all recipes, for help texts.

    Example:
        >>> values_text("optimizer")
        'original: sgd, modern: adamw'
    """

    def text(value: Any) -> str:
        if (field, value) in PLANNED:
            return "from the data set's size"
        if value is None or isinstance(value, bool):
            return {None: "none", True: "yes", False: "no"}[value]
        return value if isinstance(value, str) else f"{value:g}"

    return ", ".join(f"{name}: {text(getattr(recipe, field))}" for name, recipe in RECIPES.items())


@dataclass(frozen=True)
class Plan:
    """Settings chosen from a data set's size: width, epochs, passes over the data per epoch, warm-up steps."""

    features: int
    max_epochs: int
    passes: int
    warmup: int


EPOCH_SEGMENTS = 1000  # minimum of an epoch, which passes over small data sets several times
WARMUP_SHARE = 0.15  # of all steps


def plan(segments: int, batch_size: int, max_epochs: int = 0, passes: int = 0) -> Plan:
    """Chooses the settings that depend on the size of the training split.

    Args:
        segments: of the training split.
        batch_size: of the run.
        max_epochs, passes: given values; 0 to choose. With a given max_epochs, passes defaults to 1.
    """
    passes = passes or (1 if max_epochs else max(1, -(-EPOCH_SEGMENTS // segments)))
    seen = min(max(160 * segments, 20_000), max(60_000, 30 * segments))  # segments in the whole run
    epochs = max_epochs or max(1, round(seen / (segments * passes)))
    steps = epochs * -(-segments * passes // batch_size)
    return Plan(32 if segments < 30_000 else 64, epochs, passes, max(1, round(WARMUP_SHARE * steps)))
