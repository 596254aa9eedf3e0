"""Arguments and options that several commands have, told once."""

from enum import StrEnum
from typing import Annotated

import typer


class Engine(StrEnum):
    auto = "auto"
    torch = "torch"
    numpy = "numpy"
    openvino = "openvino"
    onnx = "onnx"


class Precision(StrEnum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A run directory, a .safetensors, or an .h5 of the original.")
]
Built = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A built data set: mtt, scd, dcs, demo, a folder of classes, a manifest, a folder of TFRecords.",
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; a GPU where there is one if not given.")]
