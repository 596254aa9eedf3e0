"""samplecnn analyze MODEL WHAT: analyses of a trained network, as plots, tables and text."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from samplecnn.cli.choices import PRECISIONS, SPLITS, choice
from samplecnn.cli.explain import explain_command, report_command
from samplecnn.cli.shared import BatchSize, Built, DataDir, Device, Model, require_pytorch
from samplecnn.cli.verbs import Verb, with_common
from samplecnn.errors import UsageError
from samplecnn.system.arguments import suggestion

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder for plots and tables. By default `analysis` in the model's run directory if it is in one, "
        "else the current folder.",
    ),
]


class ModelFirst(TyperGroup):
    """A group whose commands follow the model: `analyze MODEL filters --steps 12`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands:
            if len(args) == 1 or args[1] not in self.commands:
                if get_close_matches(args[0], self.commands):  # a misspelled analysis, without a model before it
                    raise UsageError(f"unknown analysis {args[0]!r}{suggestion(args[0], self.commands)}")
                if len(args) == 1:
                    raise UsageError(f"missing analysis of {args[0]}; choose one of {', '.join(self.commands)}")
                raise UsageError(f"unknown analysis {args[1]!r}{suggestion(args[1], self.commands)}")
            args = [args[1], args[0], *args[2:]]
        return super().resolve_command(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["MODEL", "WHAT", "[OPTIONS]"]


class Analysis(Verb):
    """One of these commands, with the model first in its usage line."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        group = ctx.parent.command_path if ctx.parent else ""
        pieces = [piece for piece in self.collect_usage_pieces(ctx) if "MODEL" not in piece]
        formatter.write_usage(f"{group} MODEL {ctx.info_name}", " ".join(pieces))


def filters_command(
    model: Model,
    output: Output = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of gradient ascent from noise.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise; the same seed gives the same plots.")] = 0,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this layer, such as conv0 or block3_conv; may be repeated."),
    ] = None,
    precision: Annotated[
        str, choice(of=PRECISIONS, help="Number format of the activations; auto: bf16 if it is faster, else fp32.")
    ] = "auto",
    device: Device = None,
) -> None:
    """Show what excites every filter most: a plot of the spectra of each layer, with filters sorted by peak frequency.

    Also writes the first layer's kernels of three samples, the peaks of all layers in one plot, and all spectra as
    filters.parquet.
    """
    require_pytorch("samplecnn analyze filters")
    from samplecnn.analysis.run_analyze import run_filters

    run_filters(model, output, steps, seed, layer, precision, device)


def excitations_command(
    model: Model,
    dataset: Built,
    data_dir: DataDir = "./data",
    split: Annotated[str, choice(of=SPLITS, help="Split of the data set.")] = "test",
    output: Output = None,
    batch_size: BatchSize = 23,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the figures of every block as JSON.")
    ] = None,
    device: Device = None,
) -> None:
    """Show how blocks with excitation rescale their features: by class, by depth, and by loudness.

    Writes five plots, and the factors of every block for every segment as excitations.parquet.
    """
    require_pytorch("samplecnn analyze excitations")
    from samplecnn.analysis.run_analyze import run_excitations

    run_excitations(model, dataset, data_dir, output, split, batch_size, json, device)


def summary_command(
    model: Model,
    output: Output = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write all rows as JSON.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Length of the input in samples; by default the model's window.")
    ] = None,
) -> None:
    """Show the network layer by layer: shapes, receptive fields, weights, arithmetic, memory; and draw it."""
    require_pytorch("samplecnn analyze summary")
    from samplecnn.analysis.run_analyze import run_summary

    run_summary(model, output, json, samples)


analyze = typer.Typer(
    cls=ModelFirst,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Analyze a trained network: what it responds to, and how it is built; as plots, tables and text.",
)
ANALYSES: dict[str, Callable[..., None]] = {
    "filters": filters_command,
    "excitations": excitations_command,
    "summary": summary_command,
    "explain": explain_command,
    "report": report_command,
}
for _name, _command in ANALYSES.items():
    analyze.command(_name, cls=Analysis, short_help=(_command.__doc__ or "").split(":")[0])(with_common(_command))
