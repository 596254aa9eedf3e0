"""The examples in docstrings and documentation run and give what they show."""

import doctest
import importlib
import re
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


def test_no_example_is_skipped():
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]:
        assert "doctest: +SKIP" not in path.read_text(encoding="utf-8"), path
