"""Arguments and options that several commands have, described once."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from samplecnn.cli.choices import DATA_SETS, ENGINES, PRECISIONS, choice
from samplecnn.extras import require
from samplecnn.system import log
from samplecnn.system.limits import PYTORCH_SPACE, TRAINING_SPACE, require_address_space

if TYPE_CHECKING:
    from samplecnn.info import Info

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run directory, a .safetensors file, an .h5 file of the original, or a packaged model's name.",
    ),
]
Built = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help=f"A data set that has been built: {{{DATA_SETS}}}, a folder, a manifest, a folder of TFRecords.",
    ),
]
DataDir = Annotated[str, typer.Option(metavar="PATH", help="Folder of the built data sets.")]
BatchSize = Annotated[int, typer.Option(min=1, metavar="N", help="Segments in a batch; results do not depend on it.")]
NumReaders = Annotated[int, typer.Option(min=1, metavar="N", help="Threads that read ahead.")]
SkipCorrupt = Annotated[
    bool, typer.Option("--skip-corrupt", help="Skip damaged TFRecords, and count them, instead of stopping.")
]
Device = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, ...; by default a GPU where there is one.")
]
Engine = Annotated[
    str,
    choice(
        of=f"auto+{ENGINES}",
        help="What runs the model. auto: the fastest that is installed; for few files, the one with the lowest "
        "start-up time.",
    ),
]
EnginePrecision = Annotated[
    str, choice(of=PRECISIONS, help="fp32 is exact; bf16 has 8 bits of mantissa; auto: bf16 where it is faster.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def require_pytorch(verb: str, trains: bool = False) -> None:
    """Refuses a verb where PyTorch is not installed, or in so little address space that PyTorch can crash.

    Args:
        verb: as the user gave it, such as "samplecnn eval".
        trains: training takes more than other work.
    """
    require(verb, "train")
    require_address_space(verb, TRAINING_SPACE if trains else PYTORCH_SPACE)


def print_description(info: "Info", as_json: bool) -> None:
    """Prints what `info` and `doctor` have found."""
    if as_json:
        log.show(log.json_text(info.to_dict(), indent=2))
    else:
        log.show("\n".join(info.lines()))


def next_command(*words: str) -> None:
    """Suggests the command that usually comes next, quoted for a shell."""
    if not log.is_quiet():
        log.show(f"next: samplecnn {shlex.join(words)}")
