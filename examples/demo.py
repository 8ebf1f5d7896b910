"""Measure strain in the example study that ships with tagstrain, and say what was made.

Runs the same code as the command ``tagstrain analyze``, so that the next study can be measured from the shell.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from tagstrain.cli.main import run
from tagstrain.data.example import example_study_path

OUTPUT = Path("demo-output")


def main() -> int:
    """Analyze the example study into ``demo-output`` in the current folder; returns the command's exit code."""
    study = Path(os.path.relpath(example_study_path()))
    arguments = ["analyze", str(study), "--output", str(OUTPUT), "--overwrite", "--timings"]
    print("The example study is simulated: DICOM of three short-axis slices, base, middle and apex.\n")
    print(f"$ tagstrain {shlex.join(arguments)}\n", flush=True)
    exit_code = int(run(arguments))
    results_files = sorted(OUTPUT.glob("*/results.json"))
    for results_file in results_files:
        results = json.loads(results_file.read_text(encoding="utf-8"))
        for measured in results["slices"]:
            print(f"\n{measured['name']}: {_in_words(measured['peaks'])}")
            print(f"  moving picture  {results_file.with_name(measured['name'] + '.gif')}")
            print(f"  still picture   {results_file.with_name(measured['name'] + '.png')}")
        print(f"\nAll numbers of the study: {results_file} and {results_file.with_name('strain.csv')}")
    return exit_code


def _in_words(peaks: dict[str, dict[str, dict[str, float]]]) -> str:
    """Peak strains of a slice in a sentence."""
    midwall, radial = peaks["circumferential_midwall"]["green_lagrange"], peaks["radial"]["green_lagrange"]
    return (
        f"the mid-wall ring shortens to {100 * midwall['value']:.1f} % circumferential strain "
        f"at {midwall['time_ms']:.0f} ms, the wall thickens to {100 * radial['value']:.1f} % radial strain "
        f"at {radial['time_ms']:.0f} ms"
    )


if __name__ == "__main__":
    raise SystemExit(main())
