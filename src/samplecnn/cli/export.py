"""samplecnn export MODEL OUT --to FORMAT: a model for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from samplecnn.interop.export import FORMATS, check, export


def export_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run directory, a .safetensors, or an .h5 of the original.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; it appears when it is whole.")],
    to: Annotated[
        str, typer.Option(metavar="FORMAT", help=f"The format: {', '.join(FORMATS)} (Keras, as the original saves it).")
    ],
) -> None:
    """Write a model for other programs: the original's own code and Keras.

    The file can be read back here, to the same bits and with its class names.
    """
    check(out, to)
    from samplecnn import model_files

    loaded = model_files.load_stored(model)
    export(loaded, out, to)
    size = f"{loaded.config.signature}, {loaded.config.num_blocks} blocks, {loaded.config.num_classes} classes"
    typer.echo(f"wrote {out} ({size}); open it with {FORMATS[to].opened_with.format(path=str(out))}")
