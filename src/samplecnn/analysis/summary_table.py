"""The summary of a network as a table for people."""

import sys
from typing import IO

from samplecnn.analysis.summary import LayerSummary, Summary
from samplecnn.evaluation.score_table import PIPE_WIDTH


def print_summary(summary: Summary, file: IO[str] | None = None) -> None:
    """Prints a row for every layer and the totals; to stdout if no file is given."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    file = file or sys.stdout
    console = Console(file=file, highlight=False, width=None if file.isatty() else PIPE_WIDTH)
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    headings = ("kernel", "stride", "time × features", "sees", "ms", "hop", "ms", "parameters", "MMAC/s", "kB")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.layers:
        table.add_row(row.name, *_cells(summary, row), end_section=row.name == summary.ends[row.group].name)
    console.print(table)
    totals = summary.totals
    seconds = summary.samples / summary.sample_rate
    lines = [
        f"input: {summary.samples:,} samples, {seconds:.3g} s at {summary.sample_rate:,} Hz; outputs: "
        f"{summary.classes:,} classes",
        f"{totals['parameters']:,} parameters ({totals['parameter_bytes'] / 1e6:,.1f} MB), "
        f"{totals['macs_per_second'] / 1e6:,.1f} million multiply-adds for a second of sound",
        f"activations in float32: {totals['activation_bytes'] / 1e6:,.1f} MB in all, "
        f"{totals['peak_activation_bytes'] / 1e6:,.1f} MB at a time",
        f"the last block's steps see {totals['receptive_field']:,} samples ({totals['receptive_field_ms']:,.0f} ms), "
        f"{totals['hop']:,} apart ({totals['hop_ms']:,.0f} ms)",
    ]
    if any(row.kind == "excitation" for row in summary.layers):
        lines.append("excitations see the whole input, for the one factor by which they scale each feature")
    print("\n".join(lines), file=file)


def _cells(summary: Summary, row: LayerSummary) -> list[str]:
    sees, hop = row.receptive_field, row.hop
    return [
        "" if row.kernel is None else str(row.kernel),
        "" if row.stride is None else str(row.stride),
        f"{row.time:,} × {row.features:,}",
        "all" if sees is None else f"{sees:,}",
        "" if sees is None else f"{summary.milliseconds(sees):,.2f}",
        "" if hop is None else f"{hop:,}",
        "" if hop is None else f"{summary.milliseconds(hop):,.2f}",
        f"{row.parameters:,}" if row.parameters else "",
        f"{summary.macs_per_second(row.macs) / 1e6:,.2f}" if row.macs else "",
        f"{row.activation_bytes / 1e3:,.1f}",
    ]
