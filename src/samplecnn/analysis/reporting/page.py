"""The page: sections of HTML with everything inside, which opens from a disk without a network."""

from html import escape
from importlib.resources import files
from typing import Any

from samplecnn import __version__
from samplecnn.analysis import plots
from samplecnn.analysis.plots.explanation import DARK, draw_explanation
from samplecnn.analysis.reporting import scores
from samplecnn.analysis.reporting.gather import Findings
from samplecnn.analysis.reporting.mistakes import Mistake
from samplecnn.analysis.reporting.pictures import PAPER, picture, table

# Nothing may be loaded from anywhere: what is inside is all there is, and a browser holds the page to it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def page(found: Findings, made: str) -> str:
    """All of the report as one HTML document; `made` tells when and by which command."""
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
        "Settings": ("settings", _settings(found, made)),
    }
    shown = {title: content for title, content in sections.items() if content[1]}
    links = "".join(f'<a href="#{anchor}">{title}</a>' for title, (anchor, _) in shown.items())
    body = "".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{title}</h2>{content}</section>'
        for title, (anchor, content) in shown.items()
    )
    task, evaluation = found.evaluation.task, found.evaluation
    title = f"{task.name}: {found.run.name if found.run else evaluation.model}"
    words = "".join(f"<p>{escape(line)}</p>" for line in [*scores.in_words(found), *evaluation.warnings])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta name="theme-color" media="(prefers-color-scheme: light)" content="{PAPER["light"]}">'
        f'<meta name="theme-color" media="(prefers-color-scheme: dark)" content="{PAPER["dark"]}">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{stylesheet()}</style></head><body>"
        f'<header><p class="lead">Report on a model of samplecnn</p><h1>{escape(title)}</h1>'
        f'<p class="lead">{escape(_about(found))}</p></header>'
        f'<main>{scores.cards(found)}<p class="note">{escape(_trust(found))}</p>{words}'
        f'<nav aria-label="Sections">{links}</nav>{body}</main></body></html>\n'
    )


def stylesheet() -> str:
    return files("samplecnn.analysis.reporting").joinpath("style.css").read_text(encoding="utf-8")


def _about(found: Findings) -> str:
    task, config = found.evaluation.task, found.summary.architecture
    kind = "one class a clip" if task.kind == "multiclass" else "any number of classes a clip"
    return (
        f"Blocks {config.get('block')}{' with multi-level aggregation' if config.get('multi') else ''}, tested on the "
        f"test split of {found.evaluation.dataset}: {task.num_classes} classes, {kind}, windows of "
        f"{task.window / task.sample_rate:.2f} s at {task.sample_rate:,} Hz."
    )


def _trust(found: Findings) -> str:
    got = found.intervals
    return (
        f"Ranges are {scores.percent(got.level)} confidence intervals: the clips drawn anew {got.draws:,} times "
        f"(percentile bootstrap over clips, seed {got.seed}). They tell what other test clips would change, not "
        "another training."
    )


def _mistakes(found: Findings) -> str:
    if not found.mistakes:
        asked = "No mistakes were asked for." if _wrong(found) else "The model makes no mistake on the test clips."
        return f"<p>{asked}</p>"
    items = []
    for mistake, sound, explanation in zip(found.mistakes, found.sounds, found.explanations, strict=True):
        parts = [f"<h3>{_headline(mistake)}</h3>", f'<p class="note">{escape(mistake.name)}: {_scores(mistake)}</p>']
        parts.append(
            f'<audio controls preload="metadata" src="{sound}" aria-label="{escape(mistake.name, quote=True)}"></audio>'
        )
        if explanation is not None:
            lines = explanation.words()
            parts.append("".join(f"<p>{escape(line)}</p>" for line in lines))
            alt = "Waveform, spectrogram, and what speaks for and against each tag over time and frequency. "
            drawn = picture(draw_explanation(explanation), alt + " ".join(lines), draw_explanation(explanation, DARK))
            parts.append(f"<details><summary>What the tags rest on</summary>{drawn}</details>")
        items.append(f"<li>{''.join(parts)}</li>")
    return (
        '<p class="note">The clips the model is most wrong about. Every sound is what the model heard: mono, at its '
        f'own sample rate.</p><ol class="mistakes">{"".join(items)}</ol>'
    )


def _wrong(found: Findings) -> bool:
    return found.evaluation.scores.accuracy < 1


def _headline(mistake: Mistake) -> str:
    true = ", ".join(mistake.true) or "none of the classes"
    if mistake.said is not None:
        said = f'Said <span class="said">{escape(mistake.said)}</span>, {mistake.probability(mistake.said):.3f}'
        return f'{said}; it is <span class="is">{escape(true)}</span>'
    assert mistake.missed is not None  # a mistake is one or the other
    missed = f'Missed <span class="is">{escape(mistake.missed)}</span>, {mistake.probability(mistake.missed):.3f}'
    return f"{missed}; it is {escape(true)}"


def _scores(mistake: Mistake) -> str:
    return ", ".join(f"{escape(name)} {value:.3f}" for name, value in mistake.scores)


def _excitations(found: Findings) -> str:
    got = found.excitations
    if got is None:
        return "".join(f"<p>{escape(line)}</p>" for line in found.left_out if line.startswith("excitations"))
    from samplecnn.analysis.analyses import in_words

    drawn = [
        picture(plots.draw_excitations_spread(got), "How far the classes' excitations lie apart, by depth"),
        picture(plots.draw_excitations_loudness(got), "Correlation of each block's excitations with loudness"),
    ]
    more = [
        picture(plots.draw_excitations_units(got), "Mean excitation of every unit for each class, by block"),
        picture(plots.draw_excitations_distribution(got), "Distribution of the excitations of each class, by block"),
    ]
    if len([count for count in got.counts if count]) > 1:
        more.append(picture(plots.draw_excitations_clusters(got), "Classes clustered by their excitations"))
    lines = in_words(got)
    table_of = "".join(f"<li>{escape(line)}</li>" for line in lines[:-1])
    return (
        f"<p>{escape(lines[-1])}.</p>{''.join(drawn)}<details><summary>Every block and class</summary>"
        f"<ul>{table_of}</ul>{''.join(more)}</details>"
    )


def _filters(found: Findings) -> str:
    got = found.filters
    if got is None:
        return ""
    drawn = [
        picture(plots.draw_peaks(got), "Peak frequencies of the filters of every layer, in rising order"),
        picture(plots.draw_first_layer(got), "The first layer's own filters and their frequency responses"),
    ]
    layers = [
        picture(plots.draw_filters(got, name), f"Spectra of what excites the filters of {name} most, sorted by peak")
        for name in got.names
    ]
    return (
        '<p class="note">The sound that excites each filter most, found by gradient ascent from noise; its spectrum, '
        f"filters sorted by their peak.</p>{''.join(drawn)}"
        f"<details><summary>Every layer's spectra</summary>{''.join(layers)}</details>"
    )


def _network(found: Findings) -> str:
    summary = found.summary
    totals = summary.totals
    rows = []
    for layer in summary.to_dict()["layers"]:
        sees, step = layer["receptive_field_ms"], layer["hop_ms"]
        rows.append(
            [
                escape(str(layer["name"])),
                escape(str(layer["kind"])),
                f"{layer['time']:,} × {layer['features']:,}",
                f"{sees:,.1f}" if sees is not None else "",
                f"{step:,.2f}" if step is not None else "",
                f"{layer['parameters']:,}",
                f"{layer['macs_per_second'] / 1e6:,.1f}",
            ]
        )
    head = ["Layer", "Kind", "Output, steps × features", "Sees, ms", "Step, ms", "Parameters", "Million MACs a second"]
    alt = "The network from the waveform to its classes, every block with its layers and its width"
    return (
        f"<p>{totals['parameters']:,} parameters, {totals['macs_per_second'] / 1e9:,.2f} billion multiply-accumulates "
        f"for each second of sound; before the head, a step of time sees {totals['receptive_field_ms']:,.0f} ms.</p>"
        f"{picture(plots.draw_summary(summary), alt)}<details><summary>Every layer</summary>"
        f"{table(head, rows, 'Layers in order, for one window')}</details>"
    )


def _settings(found: Findings, made: str) -> str:
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
    return f'<div class="tables">{tables}</div>' + f'<p class="note">{escape(made)}, samplecnn {__version__}.</p>'


def _plain(key: str) -> str:
    return key.replace("_", " ")


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
