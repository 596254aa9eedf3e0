"""Model cards, and their intervals against exact ones."""

import math

import pytest
from scipy import stats

from samplecnn.zoo.card import card_text, poisson_rate, wilson

from .conftest import FACTS

MEASURED = {"bytes": 123_456, "parameters": 60_000, "sha256": "ab" * 32, "sample_rate": 16000, "window": 16000}


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (5, 10), (96, 100), (100, 100), (1700, 1770)])
def test_wilson_as_scipy_has_it(hits, total):
    expected = stats.binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize("events", [0, 1, 3, 10, 200])
def test_poisson_interval_is_close_to_the_exact_one(events):
    rate, low, high = poisson_rate(events, 0.5)
    exact = (stats.chi2.ppf(0.025, 2 * events) / 2 if events else 0, stats.chi2.ppf(0.975, 2 * events + 2) / 2)
    assert rate == 2 * events
    assert high / 2 == pytest.approx(exact[1] if events else -math.log(0.025), rel=0.02)
    assert low / 2 == pytest.approx(exact[0], rel=0.05, abs=0.1)


def test_a_card_has_every_figure():
    facts = FACTS | MEASURED | {
        "scores_about": "Of one run.",
        "per_class": [
            {"name": "beep", "support": 4, "precision": 1.0, "recall": 0.75, "f1": 0.857, "roc_auc": None},
            {"name": "_none_", "support": 5, "precision": None, "recall": 0.0, "f1": 0.0, "roc_auc": 0.5},
        ],
        "confusion": {"classes": ["beep", "_none_"], "counts": [[3, 1], [0, 5]]},
        "snr_about": "Noise of a café.",
        "snr": [{"snr": None, "value": 0.9}, {"snr": -5.0, "value": 0.25}],
        "false_alarms": [{"what": "rain", "events": 2, "hours": 0.25, "threshold": 0.5}],
        "speed_about": "On a laptop.",
        "speed": [{"what": "a clip", "value": "0.5 s"}],
        "limits": ["It has heard no birds."],
    }  # fmt: skip
    lines = card_text(facts).splitlines()
    for line in (
        "# hums",
        "0.12 MB, 60,000 weights, stored in float16; windows of 1 s at 16,000 Hz.",
        "| `_none_` | 1,032 | 5 |",
        "| all | 1,064 | 9 |",
        "| generated \\| tones | CC0 | training and test |",
        "Split: drawn by chance.",
        "| accuracy | 90.00 % | 80.00 to 95.00 | 9 |",
        "| `_none_` | 5 | – | 0.000 | 0.000 | 0.500 |",
        "| beep | 3 | 1 |",
        "| `_none_` |  | 5 |",
        "| no noise | 90.0 % |",
        "| -5 dB | 25.0 % |",
        "| rain | 0.5 | 15.0 min | 8.0 | 0.9 to 28.9 |",
        "| a clip | 0.5 s |",
        "- It has heard no birds.",
        "    python zoo/build_hums.py hums",
        "Licence: CC0.",
    ):
        assert line in lines, line


def test_sections_without_figures_are_left_out():
    text = card_text(FACTS | MEASURED)
    assert "## Scores" in text and "## False alarms" not in text and "## Speed" not in text and "None" not in text
