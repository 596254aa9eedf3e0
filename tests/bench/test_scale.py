"""Scaling: the exponent of known growth, the peak memory of known allocations, and the commands end to end."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samplecnn.bench.load import scale_load
from samplecnn.bench.scale import draw_scale, exponent, measure_scale, print_scale
from samplecnn.cli.app import app

HAS_PROC = Path("/proc/self/status").exists()


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_known_growth(power):
    points = [{"work": n, "seconds": [3 * n**power] * 2 + [1e9 * n]} for n in (10, 20, 40, 80)]
    assert exponent(points) == pytest.approx(power)
    assert math.isnan(exponent(points[:1]))


def test_every_size_is_run_in_every_round():
    ran = []

    def job(n):
        return lambda: (ran.append(n), time.sleep(n / 1000))

    points = measure_scale({40: job(40), 10: job(10)}, 3, "test")
    assert ran == [10, 40] * 4
    assert [point["work"] for point in points] == [10, 40]
    assert all(len(point["seconds"]) == 3 and min(point["seconds"]) >= point["work"] / 1000 for point in points)


MEMORY = """
import subprocess, sys
import numpy as np
from samplecnn.bench.scale import Peak
program = "import time; x = b'1' * (100 << 20); time.sleep(0.5)"
def nothing(): pass
def large(): np.ones(100 << 20, np.uint8)
def child(): subprocess.run([sys.executable, "-c", program], check=True)
for work in (nothing, large, nothing, child):
    with Peak() as peak:
        work()
    print(peak.bytes)
"""


@pytest.mark.skipif(not HAS_PROC, reason="needs /proc")
def test_memory_is_that_of_the_block_and_of_child_processes():
    done = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True)
    nothing, large, again, child = map(int, done.stdout.split())
    assert 90 << 20 < large - nothing < 110 << 20
    assert again < large - (50 << 20)  # the high-water mark was reset
    assert child - again > 100 << 20


@pytest.mark.slow
def test_loading_grows_in_time_and_not_in_memory(tmp_path):
    result = scale_load((1, 8), tmp_path, segments=150, rounds=1, num_readers=2)
    assert list(tmp_path.iterdir()) == []
    assert [point["work"] for point in result["points"]] == [150, 1200]
    if HAS_PROC:
        for name in ("peak_rss", "peak_rss_of_equal_reads"):
            small, large = (point[name] for point in result["points"])
            assert large - small < 40 << 20  # the larger lies in 142 MB of files


def test_build_scale_as_a_command(tmp_path, short_music):
    arguments = ["bench", "build", "--scale", "--clips", "1", "--rounds", "1", "--data-dir", str(tmp_path / "data")]
    out = ["--json", str(tmp_path / "a.json"), "--picture", str(tmp_path / "a.png")]
    outcome = CliRunner().invoke(app, [*arguments, *out], catch_exceptions=False)
    assert outcome.exit_code == 0 and "seconds grow as work to the power of" in outcome.stdout
    values = json.loads((tmp_path / "a.json").read_text())
    assert values["bench"] == "build" and [point["work"] for point in values["points"]] == [1, 2, 4, 8]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "data").iterdir()) == []


def test_table_and_picture_without_memory(tmp_path, capsys):
    points = [{"work": n, "seconds": [n / 10.0], "peak_rss": None} for n in (1, 2)]
    result = {"bench": "x", "unit": "clips", "points": points, "machine": {"cpu": "c", "cores": 1}}
    print_scale(result)
    assert "power of 1.00" in capsys.readouterr().out
    draw_scale(result, tmp_path / "x.svg")
    assert "</svg>" in (tmp_path / "x.svg").read_text()


@pytest.mark.parametrize(
    "arguments", [["build", "--librosa", "p"], ["load", "--tensorflow", "p"], ["load", "some-set"]]
)
def test_options_that_scale_excludes(arguments):
    outcome = CliRunner().invoke(app, ["bench", *arguments, "--scale"])
    assert outcome.exit_code != 0 and "--scale" in str(outcome.exception)
