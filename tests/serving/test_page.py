"""The files of the page of `samplecnn serve`: complete, without anything inline, and in the installed package."""

import re
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs samplecnn[serve]")

from samplecnn.serving.page import page_routes

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "src" / "samplecnn" / "serving" / "page"


def test_every_file_is_served_and_refers_only_to_others_of_them():
    served = {route.path.lstrip("/") or "index.html" for route in page_routes()}
    assert served == {path.name for path in PAGE.iterdir()} >= {"index.html", "page.css", "main.js", "capture.js"}
    for path in PAGE.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert {f"{name}.js" for name in re.findall(r'from "\./(\w+)\.js"', text)} <= served, path.name
        # What the bundle of an exported page is made of: no other imports, and every export by a name.
        assert len(re.findall(r"^import ", text, re.M)) == len(
            re.findall(r'^import \{[^}]*\} from "\./\w+\.js";$', text, re.M)
        )
        assert "import(" not in text and "export {" not in text and "export default" not in text, path.name
        assert not re.search(r"https?://(?!localhost)", text), path.name
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'(?:src|href)="([^"]*)"', page)) == {"data:,", "page.css", "main.js"}
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]* src=)", page)  # the policy allows nothing inline


def test_labels_of_the_page_lead_to_elements():
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
    used = set()
    for path in PAGE.glob("*.js"):
        used |= set(
            re.findall(r'(?:\$|getElementById)\("([\w-]+)"\)|\bon\("([\w-]+)"', path.read_text(encoding="utf-8"))
        )
    assert {name for pair in used for name in pair if name} <= set(identifiers)


def test_the_wheel_has_the_files():
    """The whole package goes into it, as far as git does not ignore its files."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["src/samplecnn"]}
    ignored = (ROOT / ".gitignore").read_text().split()
    assert not any(re.search(r"html|\.js|css|page", line) for line in ignored)
