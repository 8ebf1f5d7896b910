"""What an earlier run left in OUT, by its ``run.json``: `EarlierRun`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import tagstrain
from tagstrain.cli.run_record import RunRecord, StudyRecord, StudyStatus, provenance_json

_NO_RESULTS_DEPEND_ON = {"overwrite", "resume"}
_OTHER_SETTINGS = "other_settings"
"""Key that marks a study that was made with other settings than its ``run.json`` tells."""


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """Studies whose results stand in OUT, and what they were made with."""

    record: Mapping[str, Any] = field(default_factory=dict)
    """Content of ``run.json``; empty where there is none or it cannot be read."""
    studies: Sequence[dict[str, Any]] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read ``run.json``; studies without results beside it are left out."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return cls()
        if not isinstance(record, dict):
            return cls()
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
        left = list(self.studies)
        found: list[dict[str, Any] | None] = []
        for wanted in inputs:
            match = next((study for study in left if is_from(study, wanted)), None)
            found.append(match)
            if match is not None:
                left.remove(match)
        by_name = Counter(wanted.input for wanted, match in zip(inputs, found, strict=True) if match is None)
        for k, wanted in enumerate(inputs):
            changed = [study for study in left if study["input"] == wanted.input]
            if found[k] is None and len(changed) == by_name[wanted.input]:
                found[k] = changed[0]
                left.remove(changed[0])
                by_name[wanted.input] -= 1
        return found


def is_done(study: Mapping[str, Any]) -> bool:
    """Whether an earlier study is complete and was made with the settings that its ``run.json`` tells."""
    return study.get("status") == StudyStatus.DONE and not study.get(_OTHER_SETTINGS, False)


def is_from(study: Mapping[str, Any], wanted: StudyRecord) -> bool:
    """Whether earlier results came from this input."""
    sha256 = study.get("input_sha256")
    return study["input"] == wanted.input and sha256 is not None and sha256 == wanted.input_sha256


def _has_results(study: Any, root: Path) -> bool:
    """Whether an entry names a folder that holds results."""
    if not isinstance(study, dict) or not isinstance(study.get("input"), str):
        return False
    folder = study.get("folder")
    return isinstance(folder, str) and Path(folder).name == folder and (root / folder / "results.json").is_file()
