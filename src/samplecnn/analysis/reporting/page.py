"""The page: one self-contained HTML document, which opens offline."""

from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np

from samplecnn import __version__
from samplecnn.analysis import plots
from samplecnn.analysis.excitation_text import sentences as excitation_sentences
from samplecnn.analysis.reporting import score_sections as scores
from samplecnn.analysis.reporting.elements import escape, picture, table
from samplecnn.analysis.reporting.findings import Findings
from samplecnn.analysis.reporting.mistakes import Mistake
from samplecnn.system.plotting import DARK, LIGHT, Theme

# Everything is embedded; this policy makes the browser refuse to load anything else.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def page(found: Findings, timestamp: str) -> str:
    """The whole report as one HTML document; `timestamp` is the line with its date."""
    sections = {
        "Classes": ("classes", scores.per_class(found)),
        "Confusion" if found.evaluation.task.kind == "multiclass" else "Precision and recall": (
            "confusion",
            scores.charts(found),
        ),
        "Worst mistakes": ("mistakes", _mistakes(found)),
        "Training": ("training", scores.learning_curves(found.history)),
        "Excitations": ("excitations", _excitations(found)),
        "Filters": ("filters", _filters(found)),
        "Network": ("network", _network(found)),
        "Settings": ("settings", _settings(found, timestamp)),
    }
    shown = {title: content for title, content in sections.items() if content[1]}
    links = "".join(f'<a href="#{anchor}">{title}</a>' for title, (anchor, _) in shown.items())
    body = "".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{title}</h2>{content}</section>'
        for title, (anchor, content) in shown.items()
    )
    task, evaluation = found.evaluation.task, found.evaluation
    title = f"{task.name}: {found.run.name if found.run else evaluation.model}"
    words = "".join(f"<p>{escape(line)}</p>" for line in [*scores.sentences(found), *evaluation.warnings])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta name="theme-color" media="(prefers-color-scheme: light)" content="{LIGHT.paper}">'
        f'<meta name="theme-color" media="(prefers-color-scheme: dark)" content="{DARK.paper}">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{stylesheet()}</style></head><body>"
        f'<header><p class="lead">samplecnn model report</p><h1>{escape(title)}</h1>'
        f'<p class="lead">{escape(_about(found))}</p></header>'
        f'<main>{scores.cards(found)}<p class="note">{escape(_confidence_note(found))}</p>{words}'
        f'<nav aria-label="Sections">{links}</nav>{body}</main></body></html>\n'
    )


def stylesheet() -> str:
    """The page's style sheet, with the colours of both themes as variables."""
    rules = files("samplecnn.analysis.reporting").joinpath("style.css").read_text(encoding="utf-8")
    dark = f"@media (prefers-color-scheme: dark) {{\n:root {{ {_variables(DARK)} }}\n}}"
    return f":root {{ color-scheme: light dark; {_variables(LIGHT)} }}\n{dark}\n{rules}"


def _variables(theme: Theme) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in asdict(theme).items() if name != "grays")


def _about(found: Findings) -> str:
    task, config = found.evaluation.task, found.summary.architecture
    kind = "one class per clip" if task.kind == "multiclass" else "any number of classes per clip"
    return (
        f"Blocks {config.get('block')}{' with multi-level aggregation' if config.get('multi') else ''}, tested on the "
        f"test split of {found.evaluation.dataset}: {task.num_classes} classes, {kind}, windows of "
        f"{task.window / task.sample_rate:.2f} s at {task.sample_rate:,} Hz."
    )


def _confidence_note(found: Findings) -> str:
    intervals = found.intervals
    bootstrap = (
        f"a percentile bootstrap with {intervals.draws:,} draws (seed {intervals.seed}), omitted if all draws agree"
    )
    method = (
        f"over clips: Wilson's for shares of clips (accuracy, exact match, recall), for other scores {bootstrap}"
        if intervals.unit == "clips"
        else f"over {intervals.units:,} groups of clips, which are resampled as a whole: {bootstrap}"
    )
    return (
        f"Ranges are {scores.percent(intervals.level)} confidence intervals {method}. They show the variation "
        f"between samples of test {intervals.unit}, not between training runs."
    )


def _mistakes(found: Findings) -> str:
    if not found.mistakes:
        text = (
            "Mistakes are not included (--mistakes 0)."
            if _has_mistakes(found)
            else "The model makes no mistake on the test clips."
        )
        return f"<p>{text}</p>"
    items = []
    for mistake, sound, explanation in zip(found.mistakes, found.sounds, found.explanations, strict=True):
        parts = [f"<h3>{_headline(mistake)}</h3>", f'<p class="note">{escape(mistake.name)}: {_scores(mistake)}</p>']
        parts.append(
            f'<audio controls preload="metadata" src="{sound}" aria-label="{escape(mistake.name, quote=True)}"></audio>'
        )
        if explanation is not None:
            lines = explanation.words()
            parts.append("".join(f"<p>{escape(line)}</p>" for line in lines))
            alt = "Waveform, spectrogram, and what raises and lowers the score of each tag over time and frequency. "
            light, dark = (plots.draw_explanation(explanation, theme) for theme in (LIGHT, DARK))
            drawn = picture(light, alt + " ".join(lines), dark)
            parts.append(f"<details><summary>What the tags depend on</summary>{drawn}</details>")
        items.append(f"<li>{''.join(parts)}</li>")
    return (
        '<p class="note">The clips with the largest errors. The sound is the model\'s input: mono, at its sample '
        f'rate.</p><ol class="mistakes">{"".join(items)}</ol>'
    )


def _has_mistakes(found: Findings) -> bool:
    return found.evaluation.scores.accuracy < 1


def _headline(mistake: Mistake) -> str:
    true = ", ".join(mistake.true) or "none of the classes"
    if mistake.predicted is not None:
        name, score = escape(mistake.predicted), mistake.probability(mistake.predicted)
        return (
            f'Predicted <span class="predicted">{name}</span>, {score:.3f}; true: '
            f'<span class="true">{escape(true)}</span>'
        )
    assert mistake.missed is not None  # a mistake has at least one of them
    name, score = escape(mistake.missed), mistake.probability(mistake.missed)
    return f'Missed <span class="true">{name}</span>, {score:.3f}; true: {escape(true)}'


def _scores(mistake: Mistake) -> str:
    return ", ".join(f"{escape(name)} {value:.3f}" for name, value in mistake.scores)


def _excitations(found: Findings) -> str:
    excitations = found.excitations
    if excitations is None:
        return "".join(f"<p>{escape(line)}</p>" for line in found.notes)
    drawn = [
        picture(plots.draw_excitations_spread(excitations), "How far the classes' mean excitations differ, by depth"),
        picture(plots.draw_excitations_loudness(excitations), "Correlation of each block's excitations with loudness"),
    ]
    more = [
        picture(plots.draw_excitations_units(excitations), "Mean excitation of every unit for each class, by block"),
        picture(
            plots.draw_excitations_distribution(excitations), "Distribution of the excitations of each class, by block"
        ),
    ]
    if np.count_nonzero(excitations.counts) > 1:
        more.append(picture(plots.draw_excitations_clusters(excitations), "Classes clustered by their excitations"))
    lines = excitation_sentences(excitations)
    blocks = "".join(f"<li>{escape(line)}</li>" for line in lines[:-1])
    return (
        f"<p>{escape(lines[-1])}.</p>{''.join(drawn)}<details><summary>Every block and class</summary>"
        f"<ul>{blocks}</ul>{''.join(more)}</details>"
    )


def _filters(found: Findings) -> str:
    filters = found.filters
    if filters is None:
        return ""
    drawn = [
        picture(plots.draw_peaks(filters), "Peak frequencies of the filters of every layer, in rising order"),
    ]
    if len(filters.taps):  # there is a first convolution, and no log-mel frames in its place
        drawn.append(
            picture(plots.draw_first_layer(filters), "The first layer's filters and their frequency responses")
        )
    layers = [
        picture(
            plots.draw_filters(filters, name),
            f"Spectra of the inputs that excite the filters of {name} most, ordered by peak",
        )
        for name in filters.names
    ]
    return (
        '<p class="note">Spectra of the inputs that excite each filter most, found by gradient ascent from noise; '
        f"filters ordered by peak frequency.</p>{''.join(drawn)}"
        f"<details><summary>Every layer's spectra</summary>{''.join(layers)}</details>"
    )


def _network(found: Findings) -> str:
    summary = found.summary
    totals = summary.totals
    rows = []
    for layer in summary.to_dict()["layers"]:
        field, hop = layer["receptive_field_ms"], layer["hop_ms"]
        rows.append(
            [
                escape(str(layer["name"])),
                escape(str(layer["kind"])),
                f"{layer['time']:,} × {layer['features']:,}",
                f"{field:,.1f}" if field is not None else "",
                f"{hop:,.2f}" if hop is not None else "",
                f"{layer['parameters'] - layer['statistics']:,}",
                f"{layer['statistics']:,}",
                f"{layer['macs_per_second'] / 1e6:,.1f}",
            ]
        )
    head = [
        "Layer",
        "Kind",
        "Output, steps × features",
        "Field, ms",
        "Hop, ms",
        "Weights",
        "Statistics",
        "Million MACs/s",
    ]
    alt = "The network from the waveform to the classes, every block with its layers and its width"
    return (
        f"<p>{totals['trainable']:,} trainable weights and {totals['statistics']:,} batch-norm statistics, "
        f"{totals['macs_per_second'] / 1e9:,.2f} billion multiply-accumulates per second of sound; "
        f"receptive field before the head: {totals['receptive_field_ms']:,.0f} ms.</p>"
        f"{picture(plots.draw_summary(summary), alt)}<details><summary>Every layer</summary>"
        f"{table(head, rows, 'Layers in order, for one window')}</details>"
    )


def _settings(found: Findings, timestamp: str) -> str:
    evaluation = found.evaluation
    task = {key: value for key, value in evaluation.task.to_dict().items() if key != "classes"}
    groups = {
        "The network": found.summary.architecture,
        "The task": task,
        "The training": found.options,
        "The test": {"model": evaluation.model, "data set": evaluation.dataset, **evaluation.settings},
    }
    tables = "".join(
        table(
            ("Setting", "Value"),
            [(escape(_plain(key)), escape(_value(value))) for key, value in group.items()],
            name,
            False,
        )
        for name, group in groups.items()
        if group
    )
    return f'<div class="tables">{tables}</div>' + f'<p class="note">{escape(timestamp)}, samplecnn {__version__}.</p>'


def _plain(key: str) -> str:
    return key.replace("_", " ")


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
