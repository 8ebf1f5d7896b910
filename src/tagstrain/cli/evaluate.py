"""``tagstrain evaluate``: how far predictions lie from the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    truth: Annotated[Path, typer.Argument(metavar="TRUTH.h5", readable=False, help="File with the true landmarks.")],
    predictions: Annotated[Path, typer.Argument(metavar="PRED.h5", readable=False, help="File that track wrote.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the numbers as JSON; replaces FILE.")
    ] = None,
) -> None:
    """Compare tracked landmarks with the truth.

    Row by row: distances, displacements, strains and boxes.
    """
    # Imported here, so that --help does not wait for the reader of HDF5.
    import json

    from rich.console import Console

    from tagstrain.io.atomic import atomic_file, disk_told, keep_inputs
    from tagstrain.report.evaluation import evaluate_files
    from tagstrain.report.evaluation_table import print_evaluation

    if json_file is not None:
        keep_inputs(json_file, truth, predictions)
    evaluation = evaluate_files(truth, predictions)
    print_evaluation(evaluation, Console())
    if json_file is not None:
        with atomic_file(json_file, overwrite=True) as temporary, disk_told(json_file):
            temporary.write_text(json.dumps(evaluation.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
