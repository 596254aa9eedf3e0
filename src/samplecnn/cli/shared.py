"""Arguments and options shared by several commands."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from samplecnn.cli.choices import DATA_SETS, ENGINES, PRECISIONS, choice
from samplecnn.extras import require
from samplecnn.system import log
from samplecnn.system.limits import PYTORCH_SPACE, TRAINING_SPACE, require_address_space

if TYPE_CHECKING:
    from samplecnn.info import Info


def packaged(incomplete: str) -> list[str]:
    """The packaged models' names that complete a word."""
    from samplecnn.zoo.packaged import packaged_names

    return [name for name in packaged_names() if name.startswith(incomplete)]


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run directory, a .safetensors file, an .h5 file of the original, a packaged model's name, or a hub id "
        "(org/name).",
        autocompletion=packaged,
    ),
]
Built = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help=f"A built data set: {{{DATA_SETS}}}, a folder, a manifest, or a folder of TFRecords.",
    ),
]
DataDir = Annotated[str, typer.Option(metavar="PATH", help="Folder of the built data sets.")]
BatchSize = Annotated[int, typer.Option(min=1, metavar="N", help="Segments per batch; results do not depend on it.")]
NumReaders = Annotated[int, typer.Option(min=1, metavar="N", help="Threads that read ahead.")]
SkipCorrupt = Annotated[
    bool, typer.Option("--skip-corrupt", help="Skip and count damaged TFRecords instead of stopping.")
]
Device = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps, ...; by default cuda if available.")
]
Engine = Annotated[
    str,
    choice(
        of=f"auto+{ENGINES}",
        help="Inference engine. auto: the fastest that is installed; for few files, the one with the lowest "
        "start-up time.",
    ),
]
EnginePrecision = Annotated[
    str, choice(of=PRECISIONS, help="fp32 is exact; bf16 has 8 significant bits; auto: bf16 if it is faster.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Work on the machines of a Ray cluster: HOST:PORT, auto (the one that runs on this machine) or local (a "
        "new one); needs pip install 'samplecnn[ray]'.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def require_pytorch(command: str, trains: bool = False) -> None:
    """Refuses a command if PyTorch is not installed, or with so little address space that PyTorch may crash.

    Args:
        command: the command as given by the user, such as "samplecnn eval".
        trains: whether it trains, which needs more address space.
    """
    require(command, "train")
    require_address_space(command, TRAINING_SPACE if trains else PYTORCH_SPACE)


LabelFrom = Annotated[
    str | None,
    typer.Option(
        "--label-from",
        metavar="PATTERN",
        help="Folder: labels from the names of its recordings, such as '{label}_{speaker}_*'. Fields: label, split, "
        "group or speaker, fold; * is anything.",
    ),
]


def print_description(info: "Info", as_json: bool) -> None:
    """Prints the result of `info` and `doctor`."""
    if as_json:
        log.show(log.json_text(info.to_dict(), indent=2))
    else:
        log.show("\n".join(info.lines()))


def next_command(*words: str) -> None:
    """Suggests the usual next command, quoted for a shell."""
    if not log.is_quiet():
        log.show(f"next: samplecnn {shlex.join(words)}")
