"""The report in a real Chromium: no errors, no network, pictures drawn, sound that plays, and a phone's width."""

import pytest
import torch

from samplecnn import model_files
from samplecnn.analysis.reporting import report
from samplecnn.analysis.reporting.findings import Contents
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.shards import open_split

pytestmark = pytest.mark.slow

LOOK = """
const images = [...document.images], sounds = [...document.querySelectorAll('audio')];
return {
  images: images.length,
  drawn: images.filter(image => image.complete && image.naturalWidth > 0).length,
  charts: [...document.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width > 0).length,
  sounds: sounds.length,
  wide: document.documentElement.scrollWidth,
  paper: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  image: images.length ? images[0].currentSrc.slice(-200) : '',
  requests: performance.getEntriesByType('resource').map(entry => entry.name).filter(name => !name.startsWith('data:')),
};
"""
PLAY = """
const done = arguments[arguments.length - 1], sound = document.querySelectorAll('audio')[arguments[0]];
sound.muted = true;
const answer = said => done({said, at: sound.currentTime, seconds: sound.duration,
                             error: sound.error && sound.error.message});
sound.onerror = () => answer('error');
sound.ontimeupdate = () => { if (sound.currentTime > 0) answer('plays'); };
setTimeout(() => answer('silent'), 8000);
sound.play().catch(error => answer(String(error)));
"""
OVERFLOW = """
const wide = document.documentElement.clientWidth;
const held = element => element.closest('.wide, pre');
return [...document.body.querySelectorAll('*')]
  .filter(element => !held(element) && element.getBoundingClientRect().right > wide + 0.5)
  .map(element => element.outerHTML.slice(0, 100));
"""


@pytest.fixture(scope="module")
def made(built, tmp_path_factory):
    """A report of one label and one of many."""
    folder = tmp_path_factory.mktemp("reports")
    pages = []
    for name in ("sounds", "labels"):
        task = open_split(name, built / "data", "test").task
        torch.manual_seed(0)
        model = SampleCNN(ModelConfig("se", num_blocks=2, num_classes=task.num_classes, features=8), task)
        model_files.save(model, folder / name)
        contents = Contents(mistakes=2, explained=1, filters=False, excitations=name == "sounds", draws=20)
        pages.append(
            report(str(folder / name), name, str(folder / f"{name}.html"), data_dir=built / "data", contents=contents)
        )
    return pages


def show(browser, page, width, scheme):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("browser")
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(part => part.open = true)")
    browser.execute_async_script(
        "const done = arguments[0]; Promise.all([...document.images].map(image => image.decode())).then(done, done)"
    )
    return browser.execute_script(LOOK)


@pytest.mark.parametrize("place", [0, 1], ids=["one label", "many labels"])
def test_it_is_rendered_without_errors_and_without_a_network(browser, made, place):
    seen = {}
    for scheme in ("light", "dark"):
        seen[scheme] = found = show(browser, made[place], 1100, scheme)
        assert browser.get_log("browser") == []
        assert found["images"] == found["drawn"] > 0
        assert found["charts"] > 3
        assert found["requests"] == []
    assert seen["light"]["paper"] == "rgb(255, 255, 255)" and seen["dark"]["paper"] == "rgb(20, 24, 30)"
    assert seen["light"]["ink"] != seen["dark"]["ink"]
    assert seen["light"]["image"] != seen["dark"]["image"]  # the pictures follow, too


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(browser, made, scheme):
    for page in made:
        assert show(browser, page, 390, scheme)["wide"] <= 390
        assert browser.execute_script(OVERFLOW) == []


def test_every_sound_plays(browser, made):
    for page in made:
        found = show(browser, page, 1100, "light")
        assert found["sounds"] > 0
        for number in range(found["sounds"]):
            played = browser.execute_async_script(PLAY, number)
            assert played["said"] == "plays" and played["error"] is None, played
            assert played["at"] > 0 and played["seconds"] == pytest.approx(729 / 8000, abs=0.01)


def test_long_sound_plays(browser, tone, tmp_path):
    """MP3, which clips of more than a few seconds are kept as."""
    from samplecnn.analysis.reporting.mistakes import sound_uri

    page = tmp_path / "sound.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><audio src="{sound_uri(tone(440, 8.0), 22050)}"></audio>')
    browser.get(page.as_uri())
    played = browser.execute_async_script(PLAY, 0)
    assert played["said"] == "plays" and played["seconds"] == pytest.approx(8, abs=0.2)


def test_text_stands_out_from_its_ground():
    """Contrast of at least 4.5 to 1 for text (WCAG 2.1, 1.4.3) in both themes."""
    import re

    from samplecnn.analysis.reporting.page import stylesheet

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    themes = re.findall(r":root \{([^}]*)\}", stylesheet())
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", theme))
        for ground in ("paper", "raised"):
            for ink in ("ink", "muted", "link", "orange", "blue"):
                light, dark = sorted((luminance(colours[ground]), luminance(colours[ink])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)
