"""samplecnn convert IN OUT: a model of another program, or a file of the original, as a samplecnn model folder."""

from typing import Annotated, cast

import typer

from samplecnn.cli.choices import KINDS, choice
from samplecnn.system import log
from samplecnn.task import Kind


def convert_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="A PyTorch checkpoint of minzwon/sota-music-tagging-models (SampleCNN, SampleCNNSE) or of "
            "Spijkervet/CLMR (.pt, .pth, .ckpt, .safetensors), or a model of the original (.h5) or of samplecnn.",
        ),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A new folder, or a Keras file if the name ends in .h5.")],
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="The classes in the order of the outputs: mtat, msd, jamendo, mtt, scd, dcs, "
            "mtt-numpy-1.25 (the order of the original with NumPy 1.25 or newer), or a file with one name per line.",
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="FILE", help="CLMR: the last layer, if it is in a separate file.")
    ] = None,
    encoder_only: Annotated[
        bool,
        typer.Option("--encoder-only", help="CLMR: convert an encoder without its last layer, for train --init-from."),
    ] = False,
    order: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Reorder the outputs to match a data set's classes: mtt, scd, dcs, sorted (folders, manifests), or a "
            "file; samplecnn eval requires the same order.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the task.")] = None,
    kind: Annotated[
        str | None,
        choice(of=KINDS, help="Any number of classes in a recording (sigmoid), or exactly one (softmax)."),
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(min=100, max=768_000, metavar="HZ", help="Sample rate of the model's input.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Length of the model's input in samples.")
    ] = None,
    mean: Annotated[float | None, typer.Option(metavar="M", help="Mean of the training waveforms.")] = None,
    std: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Standard deviation of the training waveforms; the model's input is (wave - M) / S."
        ),
    ] = None,
) -> None:
    """Convert a model to a folder that every command accepts: other programs' checkpoints and the original's files.

    The converted model gives the same outputs as its source. Options supply what the file does not contain.
    """
    from samplecnn.interop.convert import ConvertOptions, convert

    options = ConvertOptions(classes, order, name, cast(Kind | None, kind), sample_rate, window, mean, std)
    for line in convert(source, out, options, head, encoder_only).lines:
        if not log.is_quiet():
            log.show(line)
