"""A listener hears what a tagger hears, and `samplecnn listen` says it in time."""

import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from rich.console import Console

import samplecnn
from samplecnn.listening.detector import DetectorRules
from samplecnn.listening.display import Display
from samplecnn.listening.listener import Listener
from samplecnn.listening.sensitivity import ThresholdFile
from samplecnn.listening.sources import PcmSource, RecordingSource

RATE = 16_000


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Four seconds of noise that comes and goes."""
    path = tmp_path_factory.mktemp("sound") / "noise.wav"
    times = np.arange(4 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal(len(times)) * 0.1 * (np.sin(2 * np.pi * times) > 0)
    soundfile.write(path, noise, RATE)
    return path


@pytest.fixture(scope="module")
def listener():
    return Listener("words", engine="numpy")


def test_scores_are_those_of_tag(recording):
    tagger = samplecnn.Tagger("words", engine="numpy", hop=0.1)
    tags = tagger(str(recording))
    own = Listener("words", hop=tagger.hop / RATE, engine="numpy")  # as the tagger has rounded it
    moments = list(own.listen(RecordingSource(str(recording), RATE)))
    count = len(tags.over_time) - 1  # the last one ends where the recording ends
    heard = np.array([moment.scores for moment in moments[:count]])
    np.testing.assert_allclose(heard, tags.over_time[:count], atol=1e-5)
    np.testing.assert_allclose([moment.time for moment in moments[:count]], 1 + tagger.hop / RATE * np.arange(count))
    assert moments[-1].time == pytest.approx(4.5, abs=0.01)  # the silence that lets a last word be heard


def test_level_is_that_of_the_newest_part(listener):
    tone = 0.1 * np.sqrt(2) * np.sin(np.arange(2 * RATE) * 0.3)
    data = np.rint(np.concatenate((tone, np.zeros(RATE))) * 32768).astype("<i2").tobytes()
    levels = {round(m.time, 2): m.level for m in listener.listen(PcmSource(io.BufferedReader(io.BytesIO(data)), RATE))}
    assert levels[1.5] == pytest.approx(-20, abs=0.2)
    assert levels[2.5] == -120


def test_another_rate_is_resampled(listener):
    noise = np.random.default_rng(1).standard_normal((48_000 * 2, 2)).astype("<f4") * 0.01
    source = PcmSource(io.BufferedReader(io.BytesIO(noise.tobytes())), 48_000, 2, "f32le")
    assert len(list(listener.listen(source))) == pytest.approx((2 + 0.5 - 1) / 0.1 + 1, abs=1)
    assert listener.counts.seconds == 2.0


def test_a_threshold_file_is_read_again(tmp_path, listener, capsys):
    path = tmp_path / "limits"
    path.write_text("# mine\n*=0.8\n\nyes = 0.3\n".replace(" = ", "="))
    index = listener.task.classes.index("yes")
    file = ThresholdFile(path, listener.detector, np.full(17, 0.5))
    assert listener.detector.thresholds[index] == 0.3 and listener.detector.thresholds[0] == 0.8
    for text, expected in (("yes=0.4\n", 0.4), ("nobody=0.1\n", 0.4), ("yes\n", 0.4)):
        path.write_text(text + "#" * len(text))
        file._next = 0.0
        file.look()
        assert listener.detector.thresholds[index] == expected, text
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all("the thresholds stay as they were" in line for line in said[1:])
    assert "not a class of this model" in said[1] and "line 1" in said[2]
    listener.detector.thresholds = np.array(listener.task.class_thresholds)


def test_the_display_shows_scores_against_thresholds(recording):
    own = Listener("words", engine="numpy", rules=DetectorRules(near=0.1))
    own.detector.thresholds = np.full(17, 0.01)
    out = io.StringIO()
    display = Display(
        "a\x1b[2Jb", own.detector, own.counts, Console(file=out, width=100, height=40, force_terminal=True)
    )
    for moment in own.listen(RecordingSource(str(recording), RATE)):
        display.show(moment)
    for key in ("\x1b[B", "\x1b[C", "+", "-", "\x1b[D", "\x1b[D", "q"):
        display.keys.press(key)
    display.close()
    shown = out.getvalue()
    assert "a\\x1b[2Jb" in shown and "\x1b[2J" not in shown.replace("\\x1b[2J", "")
    assert " / 0.01" in shown and "dB" in shown
    assert display.keys.ended and own.detector.thresholds[1] == 0.05


def command(*arguments, **options):
    program = [sys.executable, "-m", "samplecnn", "listen", "words", *arguments]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_events_come_while_the_sound_goes_on(tmp_path):
    """A pipe that stays open: the line is there before it ends, the hook has run, and Ctrl-C ends it in peace."""
    script = f"import os; open(r'{tmp_path}/' + os.environ['SAMPLECNN_LABEL'], 'w').write('{{score}}')"
    hook = f'{sys.executable} -c "{script}"'
    program = command(
        "-", "--near", "--ends", "--class-threshold", "_unknown_=1", "--threshold", "0.0001", "--command", hook,
        "--background-odds", "1", "--pcm", "f32le", stdin=subprocess.PIPE,
    )  # fmt: skip
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype("<f4") * 0.1
    program.stdin.buffer.write(noise.tobytes())
    program.stdin.flush()
    start, event = json.loads(program.stdout.readline()), json.loads(program.stdout.readline())
    assert start["type"] == "start" and start["model"] == "words" and len(start["model_sha256"]) == 64
    assert start["thresholds"]["yes"] == 0.0001 and start["hop"] in (0.1, 0.100125)  # NumPy rounds it
    assert event["type"] == "event" and event["score"] > 0.0001 and "at" in event
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 0 and err.startswith("heard ") and err.count("\n") == 1, err
    assert (tmp_path / event["label"]).read_text()[:3] in f"{event['score']:.4g}"


def test_a_recording_as_text_and_errors(recording, tmp_path):
    done = {
        "text": command(str(recording), "--format", "text", "--threshold", "0.0001", "--background-odds", "1"),
        "missing": command(str(tmp_path / "none.wav")),
        "both": command(str(recording), "--url", "http://x/"),
        "hook": command(str(recording), "--command", "no-such-program {label}"),
        "brace": command(str(recording), "--command", "echo {lable}"),
        "class": command(str(recording), "--class-threshold", "nobody=0.5"),
        "limits": command(str(recording), "--thresholds", str(tmp_path / "none")),
        "nan": command("-", "--pcm", "f32le", stdin=subprocess.PIPE),
    }
    done["nan"].stdin.buffer.write(np.full(RATE, np.nan, "<f4").tobytes())
    ended = {name: (*program.communicate(timeout=60), program.returncode) for name, program in done.items()}
    out, err, code = ended.pop("text")
    assert code == 0 and out.splitlines()[0].split()[1] == "s" and err.startswith("heard 4.0 s: ")
    expected = {
        "missing": (2, "no such file"), "both": (2, "give one source"), "hook": (2, "no program 'no-such-program'"),
        "brace": (2, "names in braces are label"), "class": (2, "not a class of this model"),
        "limits": (2, "No such file"), "nan": (1, "-: has NaN"),
    }  # fmt: skip
    for name, (out, err, code) in ended.items():
        assert (code, out) == (expected[name][0], ""), (name, err)
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and expected[name][1] in errors[0] and "Traceback" not in err, (name, err)


@pytest.mark.slow
def test_memory_stays_flat():
    """Four minutes at full speed: what is kept does not grow."""
    import tracemalloc

    class Endless:
        name, rate, channels, live, lost = "endless", RATE, 1, False, 0.0

        def __init__(self, seconds):
            self.seconds = seconds

        def blocks(self):
            noise = (np.random.default_rng(0).standard_normal((RATE, 1)) * 0.1).astype(np.float32)
            for _ in range(self.seconds):
                yield noise

    short = Listener("words", hop=1.0, engine="numpy")
    list(short.listen(Endless(20)))
    tracemalloc.start()
    sizes = []
    for moment in short.listen(Endless(240)):
        if round(moment.time) in (40, 230):
            sizes.append(tracemalloc.get_traced_memory()[0])
    assert len(sizes) == 2 and sizes[1] - sizes[0] < 190_000, sizes  # the sound itself has 6 MB


def test_starting_needs_no_pytorch():
    code = (
        "import sys; from samplecnn.listening.listener import Listener; "
        "Listener('words'); print('torch' in sys.modules, 'av' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.split() == ["False", "False"], done.stderr
