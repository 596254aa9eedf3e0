"""The page of `samplecnn serve` and an exported page in a real Chromium with a fake microphone."""

import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("uvicorn", reason="needs samplecnn[serve]")

from samplecnn import Tagger, model_files
from samplecnn.interop.export import export
from samplecnn.serving import ServeLimits, create_app
from samplecnn.serving.run import serving_api

pytestmark = pytest.mark.slow

RATE = 8000
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
LOOK = """
const $ = id => document.getElementById(id), text = id => $(id).textContent;
const shown = id => !$(id).hidden && $(id).checkVisibility(), canvas = $('picture');
const all = selector => [...document.querySelectorAll(selector)].map(each => each.innerText.split('\\n'));
return {
  ready: document.body.classList.contains('ready'), busy: shown('work'), said: text('said'),
  problem: shown('problem') ? text('problem') : '', name: shown('result') ? text('name') : '', facts: text('facts'),
  tags: all('#tags li').map(each => [each[0], parseFloat(each[1])]),
  events: all('#events .event'), near: all('#events .near'),
  rows: [...document.querySelectorAll('#rows .row')].map(each => each.textContent), clock: text('clock'),
  colours: canvas.width ? new Set(new Uint32Array(
    canvas.getContext('2d').getImageData(canvas.width / 2 - 20, 0, 40, canvas.height).data.buffer)).size : 0,
  value: $('canvas-box').getAttribute('aria-valuetext'), play: text('play-text'), live: text('listen-text'),
  record: text('record-text'), wide: document.documentElement.scrollWidth, focus: document.activeElement.id,
  difference: document.documentElement.dataset.difference, simd: document.documentElement.dataset.simd,
  outside: performance.getEntriesByType('resource').map(each => each.name)
    .filter(name => !/^(data|blob):/.test(name) && !name.startsWith(location.origin)),
};
"""


def sound(seed, seconds):
    """Bursts of noise of several loudnesses, 16 bits."""
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(0, 0.9, round(seconds * 8)), RATE // 8)
    return np.round(32767 * loudness * rng.uniform(-1, 1, len(loudness))).astype(np.int16)


def browser_options(folder):
    soundfile.write(folder / "microphone.wav", sound(0, 6), RATE)
    microphone = f"use-file-for-fake-audio-capture={folder / 'microphone.wav'}"
    return ["use-fake-ui-for-media-stream", "use-fake-device-for-media-stream", microphone]


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    """A model whose thresholds are crossed now and then."""
    folder = tmp_path_factory.mktemp("page") / "tiny"
    save_model(folder)
    stored = model_files.load_stored(folder)
    scores = Tagger(folder, engine="numpy", precision="fp32", hop=0.01)(sound(1, 4), RATE).over_time
    limits = tuple(np.quantile(scores, 0.8, axis=0).round(3).tolist())
    stored = replace(stored, task=replace(stored.task, thresholds=limits))
    model_files.save(stored, folder)
    return folder


@pytest.fixture(scope="module")
def server(model):
    limits = ServeLimits(max_megabytes=2, max_seconds=20, decoders=1)
    with serving_api(
        create_app({"tiny": model, "other": model}, limits=limits, engine="numpy", precision="fp32")
    ) as running:
        yield running


class Page:
    def __init__(self, browser):
        self.browser = browser

    def until(self, reached, seconds=40):
        end, found = time.monotonic() + seconds, {}
        while time.monotonic() < end:
            found = self.browser.execute_script(LOOK)
            if reached(found):
                return found
            time.sleep(0.1)
        pytest.fail(f"{found}\n{self.browser.get_log('browser')}")

    def open(self, address):
        self.browser.get_log("browser")
        self.browser.get(address)
        return self.until(lambda now: now["ready"] or now["problem"])

    def choose(self, path, reached=None):
        self.browser.find_element("id", "file").send_keys(str(path))
        return self.until(reached or (lambda now: not now["busy"] and now["said"] == f"Tagged {path.name}."))

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.browser).send_keys(key).perform()

    def click(self, id):
        self.browser.execute_script("document.getElementById(arguments[0]).click()", id)

    def screen(self, width, scheme="light"):
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def check_accessibility(self):
        self.browser.execute_script(AXE)
        found = self.browser.execute_async_script("""
            const done = arguments[0], tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
            const shown = node => `${node.html.slice(0, 120)} ${node.failureSummary}`;
            axe.run({ runOnly: tags }).then(({ passes, violations }) =>
              done([passes.length, violations.map(({ id, nodes }) => [id, ...nodes.map(shown)])]));
        """)
        assert found[0] > 10 and found[1] == []

    def check_console(self):
        assert [entry for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.fixture
def page(browser):
    found = Page(browser)
    found.screen(1100)
    yield found
    browser.get("about:blank")


def assert_shows(seen, tags, classes):
    expected = dict(zip(classes, tags.scores, strict=True))
    assert [name for name, _ in seen["tags"]] == sorted(classes, key=lambda name: -expected[name])
    for name, score in seen["tags"]:
        assert score == pytest.approx(expected[name], abs=0.0052)
    events = tags.events(smooth=3, smoothing="mean")
    assert len(events) == len(seen["events"]) > 1
    shown = [(label, float(score)) for _, label, score in seen["events"]]
    assert shown == [(each.label, pytest.approx(each.score, abs=0.0052)) for each in events]


def test_a_recording_by_keyboard_alone(page, server, model, tmp_path):
    from selenium.webdriver.common.keys import Keys

    page.open(f"http://127.0.0.1:{server.port}")
    soundfile.write(tmp_path / "bursts.flac", sound(3, 1), RATE)
    seen = page.choose(tmp_path / "bursts.flac")
    assert seen["name"] == "bursts.flac" and seen["facts"].startswith("0:01.0 · ") and "model tiny" in seen["facts"]
    assert seen["colours"] > 100 and sorted(seen["rows"]) == ["high", "low", "path"] and seen["focus"] == "name"
    hop = 72 / RATE  # a tenth of a window
    tags = Tagger(model, engine="numpy", precision="fp32", hop=hop)(tmp_path / "bursts.flac")
    assert_shows(seen, tags, ("low", "path", "high"))
    assert all(" < " in each[2] and each[3] == ", a near miss" for each in seen["near"])
    page.check_accessibility()
    page.press(*[Keys.TAB] * 3)  # play, step, timeline
    page.until(lambda now: now["focus"] == "canvas-box")
    page.press(Keys.END)
    page.until(lambda now: now["clock"] == "0:01.0 / 0:01.0" and now["value"].startswith("0:01.0 of 0:01.0"))
    page.press(Keys.HOME)
    page.until(lambda now: now["clock"].startswith("0:00.0"))
    page.press(" ")
    page.until(lambda now: not now["clock"].startswith("0:00.0"))
    page.until(lambda now: now["play"] == "Play")  # to its end
    page.press(*[Keys.TAB] * 1)
    page.until(lambda now: now["focus"] == "threshold")
    page.press(Keys.HOME)  # the lowest threshold: one event of each class that is heard at all, from start to end
    seen = page.until(lambda now: len(now["events"]) == 2)
    assert {each[0] for each in seen["events"]} == {"0:00.0 – 0:01.0"}
    page.press(Keys.TAB, Keys.ENTER)  # back to the model's
    page.until(lambda now: len(now["events"]) > 3)
    page.check_console()
    assert page.browser.execute_script(LOOK)["outside"] == []


def test_downloads_another_model_and_another_step(page, server, model, tmp_path):
    page.browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "got")}
    )
    page.open(f"http://127.0.0.1:{server.port}")
    soundfile.write(tmp_path / "ä b.wav", sound(4, 1), RATE)
    page.choose(tmp_path / "ä b.wav")
    page.browser.execute_script("""
        const choose = (id, value) => {
          const box = document.getElementById(id);
          box.value = value;
          box.dispatchEvent(new Event('change'));
        };
        choose('model', 'other');
        choose('hop', '1');
    """)
    page.until(lambda now: "model other" in now["facts"] and not now["busy"])
    formats = page.browser.execute_script(
        "return [...document.querySelectorAll('#downloads button')].map(each => each.dataset.format)"
    )
    assert len(formats) == 14
    for format, name in (("csv", "ä b.csv"), ("audacity", "ä b.labels.txt"), ("parquet", "ä b.parquet")):
        page.browser.execute_script("document.querySelector(`[data-format=${arguments[0]}]`).click()", format)
        page.until(lambda now, name=name: now["said"] == f"Saved {name}." and not now["busy"])
        for _ in range(200):
            if (tmp_path / "got" / name).exists():
                break
            time.sleep(0.05)
    header, *rows = csv.reader((tmp_path / "got" / "ä b.csv").open(encoding="utf-8"))
    tags = Tagger(model, engine="numpy", precision="fp32")(tmp_path / "ä b.wav")
    assert len(rows) == len(tags.starts) == 11
    assert header[-3:][0::2] == ["low", "high"]
    np.testing.assert_allclose(np.array([row[-3:] for row in rows], np.float64), tags.over_time, atol=1e-4)
    assert len((tmp_path / "got" / "ä b.labels.txt").read_text().splitlines()) > 1
    page.check_console()


def test_files_that_cannot_be_used(page, server, tmp_path):
    page.open(f"http://127.0.0.1:{server.port}")
    text, empty, large, long = (tmp_path / name for name in ("notes.txt", "empty.wav", "large.wav", "long.flac"))
    text.write_text("no sound " * 100)
    empty.touch()
    soundfile.write(large, np.zeros(1_200_000, np.int16), RATE)
    soundfile.write(long, np.zeros(25 * RATE, np.int16), RATE)
    for path, words in (
        (text, "notes.txt: not audio but text"),
        (empty, "empty.wav is empty."),
        (large, "large.wav has 2.4 MB; at most 2.1 MB are taken here"),
        (long, "long.flac lasts 0:25; at most 0:20 are taken here"),
    ):
        seen = page.choose(path, lambda now, words=words: words in now["problem"] and not now["busy"])
        assert seen["name"] == ""
    soundfile.write(tmp_path / "good.wav", sound(5, 0.5), RATE)
    assert page.choose(tmp_path / "good.wav")["problem"] == ""


def test_recording_and_listening_with_a_fake_microphone(page, server):
    page.open(f"http://127.0.0.1:{server.port}")
    page.click("record")
    page.until(lambda now: now["record"] == "Stop 0:01")
    page.click("record")
    seen = page.until(lambda now: now["name"].startswith("recording-") and not now["busy"])
    assert seen["problem"] == "" and len(seen["events"]) > 0 and seen["colours"] > 100
    page.click("listen")
    seen = page.until(
        lambda now: (
            now["name"] == "Listening" and len(now["events"]) > 2 and len(now["tags"]) == 3 and now["colours"] > 100
        )
    )
    assert seen["live"] == "Stop listening"
    page.screen(390, "dark")
    assert page.until(lambda now: now["colours"] > 100)["wide"] <= 390
    page.check_accessibility()
    page.click("listen")
    page.until(lambda now: now["live"] == "Listen live")
    page.check_console()


def test_a_phone_in_the_dark(page, server, tmp_path):
    page.screen(390, "dark")
    assert page.open(f"http://127.0.0.1:{server.port}")["wide"] <= 390
    page.check_accessibility()
    soundfile.write(tmp_path / "bursts.wav", sound(3, 1), RATE)
    seen = page.choose(tmp_path / "bursts.wav")
    assert seen["wide"] <= 390 and seen["colours"] > 100
    page.check_accessibility()
    page.screen(320, "dark")
    assert page.browser.execute_script(LOOK)["wide"] <= 320


def test_a_server_that_has_ended(page, model, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(3, 0.5), RATE)
    with serving_api(create_app({"tiny": model}, limits=ServeLimits(decoders=1), engine="numpy")) as running:
        page.open(f"http://127.0.0.1:{running.port}")
    page.choose(tmp_path / "a.wav", lambda now: now["problem"].startswith("The server does not answer."))
    page.click("listen")
    page.until(lambda now: now["problem"].startswith("No connection for live sound"))


def test_an_exported_page_tags_and_listens_from_a_file(page, model, tmp_path):
    stored = model_files.load_stored(model)
    export(stored, tmp_path / "tiny.html", "html")
    seen = page.open((tmp_path / "tiny.html").as_uri())
    assert float(seen["difference"]) < 1e-4 and seen["simd"] == "true"
    page.choose(Path(__file__), lambda now: "no recording that this browser can decode" in now["problem"])
    soundfile.write(tmp_path / "bursts.flac", sound(3, 1), RATE)
    seen = page.choose(tmp_path / "bursts.flac")
    tags = Tagger(stored.fold(), engine="numpy", precision="fp32", hop=72 / RATE)(tmp_path / "bursts.flac")
    assert_shows(seen, tags, ("low", "path", "high"))
    page.click("listen")
    page.until(lambda now: now["name"] == "Listening" and len(now["events"]) > 2 and len(now["tags"]) == 3)
    page.click("listen")
    seen = page.until(lambda now: now["live"] == "Listen live")
    assert seen["outside"] == [(tmp_path / "tiny.html").as_uri()] or seen["outside"] == []
    page.check_console()


def test_a_packaged_model_computes_the_same_in_chromium(page, tmp_path):
    """An exported page compares itself with the NumPy engine whenever it is opened."""
    export(model_files.load_stored("words"), tmp_path / "m.html", "html")
    seen = page.open((tmp_path / "m.html").as_uri())
    assert seen["ready"] and float(seen["difference"]) < 1e-4
