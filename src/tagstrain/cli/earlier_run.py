"""What an earlier run left in OUT, by its ``run.json``: `EarlierRun`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import tagstrain
from tagstrain.cli.run_record import RunRecord, StudyRecord, StudyStatus, provenance_json
from tagstrain.errors import OutputError

_NO_RESULTS_DEPEND_ON = {"overwrite", "resume"}
_OTHER_SETTINGS = "other_settings"
"""Key that marks a study that was made with other settings than its ``run.json`` tells."""


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """Studies whose results stand in OUT, and what they were made with."""

    record: Mapping[str, Any] = field(default_factory=dict)
    """Content of ``run.json``; empty where there is none."""
    studies: Sequence[dict[str, Any]] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read ``run.json``; studies without results beside it are left out.

        Raises
        ------
        OutputError
            If it is damaged: what stands beside it could be taken for no results at all.
        """
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise OutputError(f"{path}: is damaged, so that it does not tell what was analyzed. Choose another output")
        told = [*(record.get("studies") or ()), *(record.get("earlier_studies") or ())]
        return cls(record, [study for study in told if _has_results(study, path.parent)])

    def differences(self, now: RunRecord) -> list[str]:
        """In what settings, software and weights a run differs from the earlier one, in words."""
        then, settings = self.record.get("settings", {}), now.settings
        names = sorted({*then, *settings} - _NO_RESULTS_DEPEND_ON)
        pairs = {name: (then.get(name), settings.get(name)) for name in names}
        pairs["software_version"] = (self.record.get("software_version"), tagstrain.__version__)
        if (made_by := self.record.get("provenance")) is not None and now.provenance is not None:
            known = provenance_json(now.provenance)
            pairs |= {name: (made_by.get(name), known[name]) for name in ("weights", "preprocessing")}
        return [f"{name} was {old}, is {new}" for name, (old, new) in pairs.items() if old != new]

    def mark_other_settings(self) -> None:
        """Have no later run take these studies for such as were made with its settings."""
        for study in self.studies:
            study[_OTHER_SETTINGS] = True

    def results_of(self, inputs: Sequence[StudyRecord]) -> list[dict[str, Any] | None]:
        """Earlier results of each input, found by name and content.

        Where the content is known nowhere, the name alone decides if there are as many such results as inputs: the
        files were changed, then, or another subject's have taken their place.
        """
        same: dict[tuple[str, str], deque[dict[str, Any]]] = defaultdict(deque)
        for study in self.studies:
            if study.get("input_sha256") is not None:
                same[study["input"], study["input_sha256"]].append(study)
        found: list[dict[str, Any] | None] = []
        for wanted in inputs:
            matches = same.get((wanted.input, wanted.input_sha256 or ""))
            found.append(matches.popleft() if matches else None)
        taken = {id(study) for study in found if study is not None}
        changed: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
        for study in self.studies:
            if id(study) not in taken:
                changed[study["input"]].append(study)
        by_name = Counter(wanted.input for wanted, match in zip(inputs, found, strict=True) if match is None)
        replaced = {name for name, n in by_name.items() if len(changed[name]) == n}
        return [
            changed[wanted.input].popleft() if match is None and wanted.input in replaced else match
            for wanted, match in zip(inputs, found, strict=True)
        ]


def is_done(study: Mapping[str, Any]) -> bool:
    """Whether an earlier study is complete and was made with the settings that its ``run.json`` tells."""
    return study.get("status") == StudyStatus.DONE and not study.get(_OTHER_SETTINGS, False)


def is_from(study: Mapping[str, Any], wanted: StudyRecord) -> bool:
    """Whether earlier results came from this input."""
    sha256 = study.get("input_sha256")
    return study["input"] == wanted.input and sha256 is not None and sha256 == wanted.input_sha256


def _has_results(study: Any, root: Path) -> bool:
    """Whether an entry names a folder that holds results; a machine that went down may leave empty files."""
    if not isinstance(study, dict) or not isinstance(study.get("input"), str):
        return False
    folder = study.get("folder")
    if not isinstance(folder, str) or Path(folder).name != folder:
        return False
    results = [root / folder / name for name in ("results.json", "results.h5")]
    return all(result.is_file() and result.stat().st_size > 0 for result in results)
