"""The examples in docstrings and documentation run and give what they show."""

import doctest
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
FENCE = re.compile(r"^ *```.*$", re.MULTILINE)


def modules_with_examples() -> list[str]:
    files = [path for path in (ROOT / "src").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]
    return sorted(".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in files)


def pages_with_examples() -> list[Path]:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(page for page in pages if ">>> " in page.read_text(encoding="utf-8"))


def run(test: doctest.DocTest) -> None:
    import numpy as np
    import torch

    import samplecnn

    test.globs.update(np=np, torch=torch, samplecnn=samplecnn)
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
    assert result.attempted and not result.failed, "".join(report)


def example_of(module: str) -> list[doctest.DocTest]:
    loaded = importlib.import_module(module.removesuffix(".__init__"))
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(loaded) if test.examples]


@pytest.mark.parametrize("module", modules_with_examples())
def test_docstrings(module, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    tests = example_of(module)
    assert tests, f"{module} has a >>> that is not in a docstring"
    for test in tests:
        run(test)


@pytest.mark.parametrize("page", pages_with_examples(), ids=lambda page: page.name)
def test_pages(page, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    run(doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0))


RUN = "20261122_101500-sounds-se_multi"  # in the workspace
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def programs() -> list[tuple[str, str]]:
    """Python in the documentation that shows no output: (page, code)."""
    pages = {page.name: PYTHON.findall(page.read_text(encoding="utf-8")) for page in (ROOT / "docs").rglob("*.md")}
    return [(page, code) for page, blocks in sorted(pages.items()) for code in blocks if ">>> " not in code]


@pytest.mark.parametrize(("page", "code"), programs(), ids=lambda text: text.partition("\n")[0][:30])
def test_programs_in_pages(page, code, workspace, monkeypatch):
    for package in re.findall(r"^import (pandas|polars|duckdb)\b", code, re.MULTILINE):
        pytest.importorskip(package, reason=f"a recipe for {package}, which is not installed")
    if "demo.index" in code:
        from samplecnn.index import update_index

        update_index(
            workspace / "demo.index", workspace / "log" / RUN, [workspace / "sounds"], hop=0.05, engine="numpy"
        )
    monkeypatch.chdir(workspace)
    exec(compile(code, page, "exec"), {})


def test_every_public_name_is_documented():
    import samplecnn

    examples = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for name in samplecnn.__all__:
        assert f"`samplecnn.{name}`" in examples, name
        assert re.search(rf"^::: samplecnn\.[\w.]+\.{name}$", reference, re.MULTILINE), name


def test_no_example_is_skipped():
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]:
        assert "doctest: +SKIP" not in path.read_text(encoding="utf-8"), path


def test_tables_are_generated_from_the_benchmarks(tmp_path):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import scale
        import tables
    finally:
        sys.path.pop(0)
    page = scale.PAGE.read_text(encoding="utf-8")
    assert scale.with_tables(page) == page, f"{scale.PAGE}: out of date; run `make docs-tables`"
    pages = tables.pages()
    assert sum(len(tables.TABLE.findall(page.read_text(encoding="utf-8"))) for page in pages) >= 6
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert tables.with_tables(text) == text, f"{page}: its tables are out of date; run `make docs-tables`"
        assert len(re.findall("^<!-- table:", text, re.MULTILINE)) == len(tables.TABLE.findall(text)), (
            f"{page}: a table without an end"
        )
    measured = (ROOT / "benchmarks" / "build.json").read_text()
    (tmp_path / "x.json").write_text(measured.replace("clips/s", "clips per second"))
    written = tables.with_tables("<!-- table: x.json -->\nold\n<!-- /table -->\n", tmp_path)
    assert "old" not in written and "clips per second" in written and tables.with_tables(written, tmp_path) == written
    row = {"data": "words", "method": "--freeze 4", "count": 5, "clips": 10, "cpu_seconds": 3.4, "seed": 1}
    found = [{**row, "accuracy": value} for value in (0.5, 0.7)] + [{**row, "count": 10, "accuracy": 0.8}]
    (tmp_path / "t.json").write_text(
        json.dumps({"about": {"words": "Here"}, "transfer": [*found, {**row, "data": "other"}]})
    )
    written = tables.with_tables("<!-- table: t.json | words -->\n<!-- /table -->\n", tmp_path)
    assert "| `--freeze 4` | 60.0 ± 14.1 | 80.0 | 3 |\n\n2 draws of the recordings. Here.\n" in written


def test_the_site_builds_and_loads_nothing_from_the_network(tmp_path):
    """Every link is right (--strict), and no page refers to a script, style, font or picture elsewhere."""
    pytest.importorskip("zensical", reason="needs the extra docs")
    settings = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    (tmp_path / "zensical.toml").write_text(settings.replace('"src"', f'"{ROOT / "src"}"'), encoding="utf-8")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    assert "samplecnn.tagging.tagger.Tagger" in (site / "reference.html").read_text(encoding="utf-8")
    for file in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = file.read_text(encoding="utf-8")
        assert not LOADED.findall(text), (file, LOADED.findall(text))
        # The theme's script fetches these from a network when a page has them.
        assert not re.search(r'class="[^"]*\b(mermaid|glightbox|pyodide)\b', text), file


LOADED = re.compile(
    r'<(?:script|img|iframe|audio|video|source)\b[^>]*\bsrc=["\']?(?:https?:)?//[^>]*>'
    r'|<link\b(?![^>]*\brel=["\']?canonical)[^>]*\bhref=["\']?(?:https?:)?//[^>]*>'
    r"|@import\s+(?:url\()?[\"']?(?:https?:)?//[^;]*|url\([\"']?(?:https?:)?//[^)]*\)"
)


def test_the_search_for_network_references_finds_them():
    for text in (
        '<script defer src="https://x.org/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.x.org/css?family=Roboto">',
        "<img alt='' src='http://x.org/a.png'>",
        "@import url(https://x.org/a.css);",
        "src: url('//x.org/a.woff2')",
    ):
        assert LOADED.search(text), text
    for text in ('<a href="https://x.org/">', '<script src="assets/a.js">', "url(data:image/png;base64,AA)"):
        assert not LOADED.search(text), text
