"""One HTML file about a model and a data set: scores with confidence intervals, mistakes with sound, plots,
settings.

`findings` and `mistakes` compute the results; `page`, `score_sections`, `svg` and `elements` build the
page from them.
"""

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from samplecnn.analysis.reporting.findings import Contents, Findings, gather
from samplecnn.analysis.reporting.page import page

__all__ = ["Contents", "Findings", "gather", "page", "report"]


def report(
    model: str,
    dataset: str,
    output: str | None = None,
    *,
    data_dir: str | Path = "./data",
    contents: Contents | None = None,
    batch_size: int = 23,
    num_readers: int = 8,
    device: str | None = None,
    skip_corrupt: bool = False,
    progress: bool = False,
) -> Path:
    """Tests a model on a data set's test split and writes a report as one HTML file.

    Args:
        model: any argument of `samplecnn.load`; for a run directory, the report includes the training.
        dataset: the data set as it was built: a name, a folder or a manifest; or a folder of TFRecords.
        output: a folder, or a file whose name ends in .html. None: report-DATASET.html in the folder `analysis` of the
            model's run directory, or in ./analysis.
        data_dir: folder of the built data sets.
        contents: what the report contains.
        batch_size: segments per step; the results do not depend on it.
        num_readers: threads that read ahead.
        device: "cpu", "cuda"; None uses a GPU if there is one.
        skip_corrupt: skips damaged TFRecords instead of stopping at the first.
        progress: shows bars on stderr.

    Returns:
        The file's path. The file appears when it is complete.

    Raises:
        UsageError: the data set is not built or has no test clips, there is no such model, the two do not fit, or the
            folder cannot be written; raised before the work begins.
        SampleCNNError: fewer than two test clips, or a model whose probabilities are NaN.
    """
    from samplecnn.analysis.output_paths import check_output, output_folder, run_folder
    from samplecnn.datasets import dataset_name
    from samplecnn.evaluation import examine
    from samplecnn.evaluation.probabilities import load_on_device
    from samplecnn.shards import open_split
    from samplecnn.system.files import write_text

    segments = open_split(dataset, data_dir, "test", skip_corrupt)
    loaded = load_on_device(model, device)
    if output is not None and output.endswith(".html"):
        path = Path(output)
    else:
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", dataset_name(dataset))
        path = output_folder(model, output) / f"report-{name}.html"
    check_output(path, (".html",), "report")
    evaluation = examine(
        loaded, dataset, data_dir, batch_size, num_readers, None, progress, segments=segments, model_path=model
    )
    evaluation = replace(evaluation, model=str(model))
    found = gather(loaded, evaluation, segments, contents or Contents(), run_folder(model), batch_size, progress)
    write_text(path, page(found, f"Made on {datetime.now():%d %B %Y, %H:%M}"))
    return path
