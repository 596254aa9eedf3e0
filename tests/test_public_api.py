"""The functions that `import samplecnn` offers: arguments that editors complete, and one line for wrong ones."""

import dataclasses
import inspect

import numpy as np
import pytest

import samplecnn
from samplecnn.errors import UsageError
from samplecnn.system.arguments import checked, suggestion
from samplecnn.training import TrainOptions, options, recipes

FUNCTIONS = ("build", "train", "resume", "train_on_all", "evaluate", "export", "load")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_spelled_out_typed_and_documented(name):
    function = getattr(samplecnn, name)
    text = inspect.getdoc(function)
    assert "Raises:" in text
    for argument in inspect.signature(function).parameters.values():
        assert argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL), argument
        assert argument.annotation is not argument.empty, argument
        assert f"{argument.name}:" in text.partition("Args:")[2] or f"{argument.name}," in text, argument


def test_the_arguments_of_train_are_the_train_options():
    """Same names, order and defaults, or None where a recipe or the network of init_from may decide."""
    arguments = inspect.signature(samplecnn.train).parameters
    fields = {field.name: field for field in dataclasses.fields(TrainOptions)}
    own = [name for name in fields if name not in recipes.FIELDS]
    after = own.index("mels") + 1
    assert list(arguments) == [*own[:after], *recipes.FIELDS, *own[after:]]
    for name, field in fields.items():
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        default = None if name in options.NAMED else default
        assert arguments[name].default == default, name


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: samplecnn.train("demo", epochs=3), "train has no option 'epochs'; did you mean max_epochs?"),
        (lambda: samplecnn.train("demo", max_epochs="3"), "train: max_epochs must be an integer or None, not '3'"),
        (lambda: samplecnn.train("demo", multi="yes"), "train: multi must be True or False or None, not 'yes'"),
        (lambda: samplecnn.train("demo", batch_size=True), "train: batch_size must be an integer or None, not True"),
        (lambda: samplecnn.train("demo", lr=[0.1]), "train: lr must be a number or None, not [0.1]"),
        (lambda: samplecnn.train("demo", data_dir=None), "train: data_dir must be a string or a path, not None"),
        (lambda: samplecnn.train("demo", block="se9"), "block 'se9' cannot be trained; did you mean se?"),
        (lambda: samplecnn.train("demo", precision="bf-16"), "precision 'bf-16' is unknown; did you mean bf16?"),
        (lambda: samplecnn.train("demo", lr=0), "lr must be above 0, not 0"),
        (lambda: samplecnn.train(), "train: missing a required argument: 'dataset'; it takes dataset, name, "),
        (lambda: samplecnn.resume("run", lr=0.1), "resume has no option 'lr'; use run, data_dir, device"),
        (lambda: samplecnn.build("demo", formt="arrow"), "build has no option 'formt'; did you mean format?"),
        (lambda: samplecnn.build("demo", padding="mirror"), "build: padding must be 'tile', 'zero' or 'stretch', not"),
        (lambda: samplecnn.build("demo", kind=3), "build: kind must be 'multilabel', 'multiclass' or None, not 3"),
        (
            lambda: samplecnn.evaluate("m", "demo", batchsize=3),
            "evaluate has no option 'batchsize'; did you mean batch",
        ),
        (lambda: samplecnn.evaluate("m", "demo", batch_size=2.5), "evaluate: batch_size must be an integer, not 2.5"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(call, said):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    @checked
    def f(count: int, rate: float) -> tuple:
        return count, rate

    assert f(np.int64(3), np.float32(0.5)) == (3, 0.5) and f(3, 1) == (3, 1)


def test_a_suggestion_is_the_nearest_name_or_all_of_them():
    assert suggestion("epochs", ["lr", "max_epochs"]) == "; did you mean max_epochs?"
    assert suggestion("zzz", ["lr", "max_epochs"]) == "; use lr, max_epochs"


def test_demo_is_built_from_python(tmp_path, monkeypatch):
    """Its recordings are generated where they are absent, and left alone where they are there."""
    from samplecnn.datasets import generated

    monkeypatch.setattr(generated.generate, "__defaults__", (3, 0))  # clips per class, seed
    report = samplecnn.build("demo", tmp_path, workers=1, progress=False)
    assert report.clips == 30 and report.task.classes == generated.CLASSES
    generated.generate(tmp_path / "demo" / "raw", clips_per_class=4)
    assert samplecnn.build("demo", tmp_path, workers=1, progress=False).clips == 40
