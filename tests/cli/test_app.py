"""The program: fast help, one-line errors, exit codes, and all commands."""

import re
import signal
import subprocess
import sys

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import samplecnn
from samplecnn.bench import BENCHMARKS
from samplecnn.cli import choices
from samplecnn.cli.app import VERBS, app, main
from samplecnn.cli.verbs import PATHS
from samplecnn.datasets import REGISTRY
from samplecnn.errors import UsageError
from samplecnn.models import BLOCKS

# Importing any of these takes longer than printing the help.
HEAVY = (
    "torch",
    "pyarrow",
    "sklearn",
    "matplotlib",
    "soundfile",
    "numpy",
    "rich",
    "h5py",
    "openvino",
    "onnxruntime",
    "pydantic",
)


def samplecnn_command(*words: str, cwd=None, env=None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "samplecnn", *words], capture_output=True, text=True, cwd=cwd, env=env)


def all_commands(group=None, prefix=()):
    """All commands: (words, click command), including groups."""
    group = group or get_command(app)
    yield prefix, group
    for name, command in getattr(group, "commands", {}).items():
        yield from (
            all_commands(command, (*prefix, name)) if hasattr(command, "commands") else [((*prefix, name), command)]
        )


ALL = list(all_commands())


def test_all_commands_are_covered():
    names = {words[0] for words, _ in ALL if words}
    assert names == {*VERBS} and ("analyze", "filters") in dict(ALL)


def heavy_modules(code: str) -> list[str]:
    """The heavy modules that are imported after running some code in a new process."""
    code = f"import sys\n{code}\nprint([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return eval(done.stdout.splitlines()[-1])


def test_help_imports_nothing_heavy():
    """Imports would make --help slow, which describes all commands; they are left to the commands."""
    run = "from typer.testing import CliRunner\nfrom samplecnn.cli.app import app\nran = CliRunner().invoke(app, {})\n"
    assert heavy_modules(run.format(["--help"]) + "assert 'completion' in ran.output") == []
    refused = heavy_modules(
        run.format(["tag", "nowhere", "x.wav"]) + "assert 'nowhere: there is no' in str(ran.exception)"
    )
    assert "pydantic" not in refused, "text needs no conversion"


def test_help_of_commands_imports_no_torch():
    """Choices are looked up in registries, which must not import the libraries of their entries."""
    help_of_all = (
        "from typer.testing import CliRunner\nfrom samplecnn.cli.app import app, VERBS\n"
        "outputs = [CliRunner().invoke(app, [verb, '--help']).output for verb in VERBS]\n"
        "assert all('Usage' in output for output in outputs)"
    )
    assert set(heavy_modules(help_of_all)) <= {"numpy", "rich", "pyarrow", "soundfile"}


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) or "samplecnn" for words, _ in ALL])
def test_help_describes_every_option(words, command):
    """Each option and argument has a sentence, and all references of registries are replaced by names."""
    shown = [words[0], "MODEL", *words[1:]] if words[:1] == ("analyze",) and len(words) > 1 else [*words]
    result = CliRunner().invoke(app, [*shown, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output
    text = " ".join(result.output.split())
    for param in command.params:
        flags = [flag for flag in param.opts if flag.startswith("-")]
        assert all(flag in text for flag in flags), param.name
        help_text = choices.resolve_names(getattr(param, "help", None) or "").split()
        assert len(help_text) >= 2, f"{param.name}: no help"
        assert " ".join(help_text[:8]) in text, param.name
    for name, below in getattr(command, "commands", {}).items():
        assert f" {name} " in text and (below.short_help or below.help), name
    assert not re.search(r"<list\[|<str>  |<\w+ range>|\[\[", text), "types as typer names them"
    assert not re.search(r"samplecnn[\w.]*:\w", text), "the reference of a registry instead of its names"


def test_choices_come_from_the_registry(monkeypatch):
    """A block added to its registry is immediately an option of train."""
    assert f"[{'|'.join(BLOCKS)}]" in CliRunner().invoke(app, ["train", "--help"]).output
    refused = CliRunner().invoke(app, ["train", "nowhere", "--block", "se3"])
    assert refused.exit_code == 2 and "'se3' is not one of" in refused.output and "did you mean se?" in refused.output
    monkeypatch.setitem(BLOCKS, "se3", BLOCKS["se"])
    assert "|se3]" in CliRunner().invoke(app, ["train", "--help"]).output
    taken = CliRunner().invoke(app, ["train", "nowhere", "--block", "se3"])
    assert "nowhere is not built yet" in str(taken.exception)


@pytest.mark.parametrize(
    "reference",
    [value for name, value in vars(choices).items() if name.isupper() and str(value).startswith("samplecnn.")],
)
def test_references_of_registries_resolve(reference):
    names = choices.names_of(reference)
    assert len(names) >= 1 and all(isinstance(name, str) for name in names)
    assert choices.names_of(f"auto+{reference}") == ("auto", *names)


def positional(command) -> list[str]:
    """A value for each argument that a command requires."""
    needed = [param for param in command.params if param.param_type_name == "argument" and param.required]
    choices = {"dataset": next(iter(REGISTRY)), "what": next(iter(BENCHMARKS)), "shell": "bash"}
    return [choices.get(param.name, "x") for param in needed]


def options_of_a_type(wanted):
    """(words, command, flag) of every option, where `wanted` holds for click's parameter."""
    for words, command in ALL:
        for param in command.params if words else []:
            if param.param_type_name == "option" and wanted(param):
                yield words, command, next(flag for flag in param.opts if flag.startswith("--"))


def test_numbers_that_are_not_finite_are_refused_by_every_option():
    tried = 0

    def is_float(param) -> bool:
        return "float" in str(getattr(param, "type_descriptor", None) or param.type).lower()

    for words, command, flag in options_of_a_type(is_float):
        for value in ("inf", "1e400", "nan"):
            with pytest.raises((UsageError, typer.BadParameter)) as caught:
                command.make_context(words[-1], [*positional(command), flag, value])
            named = getattr(caught.value, "param", None)  # click's message gets the option's name when it is shown
            assert flag in (named.opts if named else str(caught.value)), (words, flag, value)
            tried += 1
    assert tried > 100


def test_an_option_is_never_taken_for_a_path():
    tried = 0
    for words, command, flag in options_of_a_type(lambda param: param.metavar in PATHS and param.name != "config"):
        with pytest.raises((UsageError, typer.BadParameter), match=f"{flag}.*--verbose"):
            command.make_context(words[-1], [*positional(command), flag, "--verbose"])
        tried += 1
    assert tried > 25


def test_version():
    assert CliRunner().invoke(app, ["--version"]).output == f"samplecnn {samplecnn.__version__}\n"


def in_this_process(monkeypatch, capsys, words: list[str]) -> tuple[int, str]:
    """The exit code and the errors of a command, without what a new process spends on imports."""
    monkeypatch.setattr(sys, "argv", ["samplecnn", *words])
    usual = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        main()
    signal.signal(signal.SIGTERM, usual)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "nowhere"], 2, "nowhere is not built yet"),
        (["train"], 2, "missing argument DATASET"),
        (["train", "scd"], 2, "not built yet"),
        (["train", "scd", "--block", "se9"], 2, "'se9' is not one of"),
        (["train", "scd", "--lr", "-1"], 2, "--lr must be above 0"),
        (["train", "scd", "a/b"], 2, "NAME 'a/b' must be a plain word"),
        (["eval", "scd", "no.h5"], 2, "not built yet"),
        (["tag", "no.h5", "no.wav"], 2, "no.h5: there is no such model"),
        (["tag", "no.h5", "no.wav", "--about", "--format", "csv"], 2, "--about needs a file, not --format"),
        (["tag", "no.h5", __file__], 2, "no.h5"),
        (["tag", "words", ""], 2, "the argument after words is empty"),
        (["tag", "", __file__], 2, "the first argument is empty"),
        (["convert", "words", ""], 2, "the argument after words is empty"),
        (["tag", "words", __file__, "--output", ""], 2, "the argument after --output is empty"),
        (["train", "demo", "--log-dir="], 2, "--log-dir is empty"),
        (["build", "mtt"], 2, "annotations_final.csv"),
        (["prepare", "xyz"], 2, "xyz"),
        (["trian"], 2, "No such command 'trian'. Did you mean 'train'?"),
        (["fly"], 2, "No such command 'fly'; `samplecnn --help` describes all"),
        (["help"], 2, "No such command 'help'; `samplecnn --help` describes all"),
        (["help", "tag"], 2, "No such command 'help'; `samplecnn tag --help` describes it"),
        (["models", "list"], 2, "No such command 'list'; `samplecnn models` lists them"),
        (["index", "serch"], 2, "No such command 'serch'; `samplecnn index --help` describes all"),
        (["--"], 2, "Missing command; `samplecnn --help` describes all"),
        (["-q"], 2, "Missing command; `samplecnn --help` describes all"),
        (["analyze", "fliters"], 2, "unknown analysis 'fliters'; did you mean filters?"),
        (["completion", "tcsh"], 2, "'SHELL': 'tcsh' is not one of bash, zsh, fish"),
        (["tag", "words", "--top", "x"], 2, "'--top': must be a valid integer"),
        (["serve", "words", "--host", ""], 2, "the argument after --host is empty"),
        (["serve", "words", "--host", " "], 2, "--host ' ': not an address"),
        (["tag", "words", __file__, "--class-threshold", "Yes=0.5"], 2, "not a class of this model; did you mean yes?"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, words, code, message):
    monkeypatch.chdir(tmp_path)
    ended = [in_this_process(monkeypatch, capsys, words)]
    if words in (["train", "nowhere"], ["fly"]):
        done = samplecnn_command(*words, cwd=tmp_path)
        ended.append((done.returncode, done.stderr))
    for status, errors in ended:
        assert status == code
        assert message in errors and "Traceback" not in errors
        assert len([line for line in errors.splitlines() if line.lower().startswith("error")]) == 1


def test_public_names_exist():
    for name in samplecnn.__all__:
        assert callable(getattr(samplecnn, name)), name
    with pytest.raises(AttributeError, match="nothing"):
        _ = samplecnn.nothing
