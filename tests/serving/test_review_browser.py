"""The page of a review in a real Chromium, by keyboard alone."""

import time

import pytest

pytest.importorskip("uvicorn", reason="needs samplecnn[serve]")

from samplecnn.evaluation.thresholds import Goal
from samplecnn.index import read_index, update_index
from samplecnn.index.review.answers import open_answers, read_answers
from samplecnn.index.review.session import Session
from samplecnn.index.review.state import Review
from samplecnn.serving.review import review_app
from samplecnn.serving.server import serving

pytestmark = pytest.mark.slow

LOOK = """
const text = id => document.getElementById(id).textContent, canvas = document.getElementById('picture');
const pixels = canvas.width ? canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data : [0];
return {
  question: text('question'), facts: text('facts'), counts: text('counts'), said: text('said'),
  threshold: text('threshold'), busy: document.getElementById('undo').disabled,
  problem: document.getElementById('problem').hidden ? '' : text('problem'),
  drawn: new Set(pixels).size, played: !!window.played,
  wide: document.documentElement.scrollWidth, focus: document.activeElement.id,
  bars: document.querySelectorAll('#bins rect').length, head: text('head-result'),
  others: [...document.querySelectorAll('#suggestions button')].map(button => button.textContent),
  outside: performance.getEntriesByType('resource').map(each => each.name)
    .filter(name => !name.startsWith(location.origin) && !name.startsWith('data:')),
};
"""

PLAYED = """
const head = document.getElementById('playhead');
new MutationObserver(() => { window.played ||= !head.hidden; }).observe(head, {attributeFilter: ['hidden']});
"""


@pytest.fixture
def page(browser, tmp_path, save_model, noise_file):
    """page(keys, until) presses keys and waits; an index of 24 recordings behind it."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    save_model(tmp_path / "model")
    for number in range(24):
        noise_file(tmp_path / "sounds" / f"{number}.wav", number, 0.3)
    folder = tmp_path / "i.index"
    update_index(folder, tmp_path / "model", [tmp_path / "sounds"], engine="numpy", precision="fp32")
    index = read_index(folder)

    def press(keys, until):
        for key in keys:
            ActionChains(browser).send_keys(key).perform()
        found = {}

        def reached(_):
            found.update(browser.execute_script(LOOK))
            return not found["busy"] and until(found)

        try:
            WebDriverWait(browser, 15, poll_frequency=0.02).until(reached)
        except TimeoutException:
            pytest.fail(f"after {keys}: {found}")
        return found

    with open_answers(folder) as file:
        session = Session(Review(index, file.answers, Goal("precision", 0.8)), file, index.classes, "balanced", 0.02)
        with serving(review_app(session)) as server:
            press.folder, press.server = folder, server
            browser.get_log("browser")
            browser.get(server.address)
            yield press


def test_twenty_events_by_keyboard_alone(browser, page):
    from selenium.webdriver.common.keys import Keys

    seen = page("", lambda now: now["drawn"] > 20)
    assert seen["question"] == "Is this low?" and seen["counts"].startswith("0 of ")
    assert "token" not in browser.current_url
    facts = seen["facts"]
    browser.execute_script(PLAYED)  # before it begins: 0.3 s may be over before the page is looked at
    page(" ", lambda now: now["played"])
    for number in range(18):
        loud = int(facts.split("sounds/")[1].split(".")[0]) % 7 > 3
        counted = f"{number + 1} of "
        facts = page("a" if loud else "r", lambda now, counted=counted: now["counts"].startswith(counted))["facts"]
    seen = page("1", lambda now: now["said"].startswith("Relabelled as "))
    name = seen["said"].split(" as ")[1].split(":")[0]
    assert name in ("path", "high")
    page("u", lambda now: now["said"] == "Taken back: relabelled low." and now["counts"].startswith("18 of "))
    page("1", lambda now: now["counts"].startswith("19 of "))
    page("l", lambda now: now["focus"] == "name")
    seen = page(["high", Keys.ENTER], lambda now: now["counts"].startswith("20 of ") and now["focus"] != "name")
    assert seen["said"].startswith("Relabelled as high") and float(seen["threshold"]) > 0 and seen["bars"] > 1
    assert len(read_answers(page.folder)) == 20
    browser.refresh()
    again = page("", lambda now: now["counts"].startswith("20 of ") and now["drawn"] > 20)
    assert again["threshold"] == seen["threshold"] and again["facts"] == seen["facts"]
    page("]", lambda now: now["question"] == "Is this path?")
    page(["s"], lambda now: "1 skipped" in now["counts"])
    page("[", lambda now: now["question"] == "Is this low?")
    browser.execute_script("document.getElementById('head').focus()")
    seen = page([Keys.ENTER], lambda now: "Save it as a model" in now["head"])
    assert "low: log loss" in seen["head"] and seen["outside"] == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert [answer.verdict for answer in read_answers(page.folder).values()].count("relabel") == 2


def test_a_missing_recording_is_said_and_skipped(browser, page):
    (page.folder.parent / "sounds").rename(page.folder.parent / "away")
    browser.refresh()
    seen = page("", lambda now: now["problem"])
    assert "is not there any more; run `samplecnn index update`, or skip it" in seen["problem"]
    page("s", lambda now: "1 skipped" in now["counts"])


def test_a_phone_and_a_server_that_has_ended(browser, page):
    for scheme in ("light", "dark"):
        size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        assert page("", lambda now: now["drawn"] > 20)["wide"] <= 390
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.server.stop()
    while page.server.socket.fileno() >= 0:
        time.sleep(0.02)
    page("a", lambda now: now["said"].startswith("The program does not answer"))
    assert read_answers(page.folder) == {}


def test_text_stands_out_from_its_ground():
    """Contrast of at least 4.5 to 1 for text (WCAG 2.1, 1.4.3), 3 to 1 for edges (1.4.11), in both themes."""
    import re
    from importlib.resources import files

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    style = (files("samplecnn.serving") / "review_page" / "review.css").read_text()
    themes = re.findall(r":root \{([^}]*)\}", style)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", theme))
        pairs = [(ink, ground, 4.5) for ink in ("ink", "muted") for ground in ("paper", "raised")]
        pairs += [("on", "blue", 4.5), ("on", "orange", 4.5), ("edge", "paper", 3), ("edge", "raised", 3)]
        pairs += [(bar, "raised", 3) for bar in ("blue", "orange")]
        for ink, ground, least in pairs:
            light, dark = sorted((luminance(colours[ground]), luminance(colours[ink])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= least, (ink, ground)
