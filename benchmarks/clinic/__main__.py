"""Regional strain, twist and strain rates of simulated hearts of three slices, by each tracker, against the truth.

    python -m benchmarks.clinic

Writes clinic.md beside this package. Tracks stay in the work folder and are used again as long as the code and the
weights that made them are the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.clinic.measures import HeartMeasures, judge_heart
from benchmarks.clinic.table import report
from benchmarks.clinic.tracking import AUTOMATIC, METHODS, collect, load_motions
from benchmarks.made_by import made_by
from tagstrain.inference.models import TrackerName, load_models

HERE = Path(__file__).parent
NUMBERS = {"flow": 200, "harp": 200, "rnncnn": 200, AUTOMATIC: 60}


def main() -> None:
    """Follow the hearts, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for method in METHODS:
        parser.add_argument(f"--{method}", type=int, default=NUMBERS[method], help=f"hearts followed by {method}")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/clinic"), help="folder for tracks")
    options = parser.parse_args()
    numbers = {method: getattr(options, method) for method in METHODS}
    weights = load_models(TrackerName.RNNCNN, "cpu").provenance.weights
    work = options.work / made_by([HERE / name for name in ("hearts.py", "tracking.py")], weights)
    collect(numbers, work, options.processes)
    judged: dict[str, list[HeartMeasures | None]] = {
        method: [judge_heart(index, load_motions(method, index, work), work) for index in range(n)]
        for method, n in numbers.items()
        if n
    }
    command = " ".join(["python -m benchmarks.clinic", *(f"--{method} {n}" for method, n in numbers.items())])
    text = report(judged, weights, command)
    (HERE.parent / "clinic.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
