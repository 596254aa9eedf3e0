"""samplecnn convert IN OUT: a model of another program, or an old file, as a folder of ours."""

from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    multilabel = "multilabel"
    multiclass = "multiclass"


def convert_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="A PyTorch checkpoint of minzwon/sota-music-tagging-models (SampleCNN, SampleCNNSE) or of "
            "Spijkervet/CLMR (.pt, .pth, .ckpt, .safetensors), or a model of the original (.h5) or of samplecnn.",
        ),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A new folder; a name ending in .h5 gives a Keras file.")],
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="The classes, in the order of the outputs: mtat, msd, jamendo, mtt, scd, dcs, or a file with one name "
            "a line.",
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="FILE", help="CLMR: the last layer, where it is a file of its own.")
    ] = None,
    encoder_only: Annotated[
        bool, typer.Option("--encoder-only", help="CLMR: an encoder without last layer, for train --init-from.")
    ] = False,
    order: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Put the outputs into the order that a data set has its classes in: mtt, scd, dcs, sorted (folders, "
            "manifests), or a file; samplecnn eval wants it.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the task.")] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(help="How the outputs are read: any number of classes (sigmoid), or exactly one (softmax)."),
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(min=100, max=768_000, metavar="HZ", help="The rate it was trained at.")
    ] = None,
    window: Annotated[int | None, typer.Option(min=1, metavar="N", help="Samples it sees at once.")] = None,
    mean: Annotated[float | None, typer.Option(metavar="M", help="Mean of the waveforms it was trained on.")] = None,
    std: Annotated[
        float | None, typer.Option(metavar="S", help="Their standard deviation; it sees (wave - M) / S.")
    ] = None,
) -> None:
    """Convert a model to a folder that every command takes: PyTorch peers' checkpoints and the original's files.

    The converted model gives the outputs of the one it came from. What the file does not tell, the options do.
    """
    from samplecnn.interop.convert import ConvertOptions, convert

    options = ConvertOptions(classes, order, name, None if kind is None else kind.value, sample_rate, window, mean, std)
    for line in convert(source, out, options, head, encoder_only).lines:
        typer.echo(line)
