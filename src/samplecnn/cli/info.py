"""samplecnn info TARGET: a description of a model, a data set or a recording."""

from typing import Annotated

import typer

from samplecnn.cli.choices import DATA_SETS
from samplecnn.cli.shared import AsJson, DataDir, LabelFrom, print_description


def info_command(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|DATASET|RECORDING",
            help="A run directory, a .safetensors or .h5 file, a packaged model's name; a data set "
            f"({{{DATA_SETS}}}, a folder, a manifest); or a sound file.",
        ),
    ],
    data_dir: DataDir = "./data",
    label_from: LabelFrom = None,
    json: AsJson = False,
) -> None:
    """Describe a model, a data set or a recording: sizes, formats, what is missing.

    Split sizes of mtt and dcs are counted from their label files, before any of their sound is there. A recording is
    read to its end, so that a missing end is noticed.
    """
    from samplecnn.info import describe

    print_description(describe(target, data_dir, label_from), json)
