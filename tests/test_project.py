"""The files around the code agree with each other: version, Python and torch versions, make targets, links."""

import re
import tomllib
from pathlib import Path

import pytest

import samplecnn

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]


def test_the_version_is_stated_once():
    assert "version" in PROJECT["project"]["dynamic"] and "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "src/samplecnn/__init__.py"
    for name in ("README.md", "CITATION.cff", "pyproject.toml", "zensical.toml", "Makefile"):
        assert samplecnn.__version__ not in (ROOT / name).read_text(encoding="utf-8"), name


def workflow() -> dict:
    yaml = pytest.importorskip("yaml", reason="needs the extra docs")
    return yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))


def test_the_ci_covers_the_supported_versions():
    matrix = workflow()["jobs"]["test"]["strategy"]["matrix"]
    classifiers = " ".join(PROJECT["project"]["classifiers"])
    assert [f"{version}" for version in matrix["python"]] == re.findall(r"Python :: (3\.\d+)", classifiers)
    needed = list(PROJECT["project"]["dependencies"])
    for extra in PROJECT["project"]["optional-dependencies"].values():
        needed += extra
    lowest = {match[1] for name in needed if (match := re.match(r"torch>=([\d.]+)", name))}
    pinned = re.search(r"^torch==(\d+\.\d+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert lowest == {matrix["torch"][0]} and pinned[1] == matrix["torch"][-1]


def test_make_targets_that_are_named_exist():
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    texts[ROOT / "ci.yml"] = "\n".join(
        step["run"] for job in workflow()["jobs"].values() for step in job["steps"] if "run" in step
    ).replace('"test-${{ matrix.isa }}"', "test-avx2")
    for page, text in texts.items():
        for target in re.findall(r"(?:^|`|&& |: )make ([a-z][\w-]*)", text, re.MULTILINE):
            assert target in TARGETS or (page.suffix == ".md" and target == "an"), f"{page}: make {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_files_are_right(page):
    """Checked for readers of the repository too, which the check of the site does not cover."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if target.startswith(("http:", "https:")):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(file), f"{page}: {link}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_paths_that_contributing_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w./]+(?:/|\.py))`", text):
        places = [ROOT / name, ROOT / "src" / "samplecnn" / name, *(ROOT / "src" / "samplecnn").glob(f"*/{name}")]
        assert "NAME" in name or any(place.exists() for place in places), name
