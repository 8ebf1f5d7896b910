"""File names that may stand in results, and those that may be a patient's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagstrain.io.shown_names import places, shown_path


@pytest.mark.parametrize(
    "name", ["IM_01_0004.dcm", "IM-0001-0012.dcm", "I0001", "MR.0003.0004.IMA", "slice_2.dcm", "notes.txt", "DICOMDIR"]
)
def test_machine_made_names_are_shown(name: str) -> None:
    assert shown_path(Path("study") / name, "file 1 of 2").name == name


@pytest.mark.parametrize(
    "name",
    [
        "DOE_JOHN.MR.HEART.0003.0004.IMA",
        "1947-02-29.dcm",
        "1947.02.29.IMA",
        "12-05-1962_0001.dcm",
        "943-476-5919.dcm",
        "44217.dcm",
        "J.S.1947.dcm",
        "IM_12345678_1.dcm",
        "1.2.840.113619.2.55.3.dcm",
        "李_娜.dcm",
        "राम.dcm",
        "IM_Müller.dcm",
        "IM_1.Quentin",
        "IM_1.DOE",
        "image.jane",
        "MR.Chen",
        "IM_19470229.dcm",
        "slice_290247.dcm",
        "S4476591.dcm",
        "study_1947_02_29.dcm",
        "IM_1947-2-9.dcm",
        "IM_1234_5678.1947",
    ],
)
def test_names_that_may_be_of_a_patient_give_way_to_the_place(name: str) -> None:
    assert shown_path(Path("study") / name, "file 1 of 2") == Path("study") / "file 1 of 2"
    assert shown_path(Path("study") / name, "").name == name, "the user wrote it"


def test_places_count_from_one() -> None:
    assert list(places(2)) == ["file 1 of 2", "file 2 of 2"]
