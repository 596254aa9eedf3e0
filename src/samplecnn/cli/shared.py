"""Arguments and options that several commands have, described once."""

import json
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from samplecnn.cli.choices import DATA_SETS, ENGINES, PRECISIONS, choice
from samplecnn.system import log

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


def print_description(info: "Info", as_json: bool) -> None:
    """Prints what `info` and `doctor` have found."""
    if as_json:
        typer.echo(json.dumps(info.to_dict(), indent=2, ensure_ascii=False))
    else:
        log.show("\n".join(info.lines()))


def next_command(*words: str) -> None:
    """Suggests the command that usually comes next, quoted for a shell."""
    if not log.is_quiet():
        log.show(f"next: samplecnn {shlex.join(words)}")
