"""The report as a file: what stands in it, without a browser."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from contracting_slice import INNER_MM, OUTER_MM
from saved_results import edit_json, reject, short_axis_slices, still, write_results
from tagstrain.data import Insertion, Point, SliceFailure, SliceLevel
from tagstrain.inference.mechanics import ventricle_mechanics
from tagstrain.report.bulls_eye import SEGMENT_NAMES, bulls_eye_wedges
from tagstrain.report.page_text import number_text, percent_text
from tagstrain.report.saved_study import read_saved_study
from tagstrain.report.strain_colors import circumferential_scale, radial_scale, readable_on
from tagstrain.report.study_page import render_page, write_report

LIMIT_BYTES = 6_000_000


def page_of(folder: Path) -> str:
    return render_page(read_saved_study(folder))


def page_data(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    data: dict[str, Any] = json.loads(match[1])
    return data


def words(page: str) -> str:
    """Text of the page without its scripts, styles and tags."""
    bare = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", bare))


def cards(page: str) -> list[str]:
    """Texts of the key figures."""
    return [words(card) for card in re.findall(r'<div class="card">(.*?)</div>', page)]


def test_three_slices_of_sixty_frames_stay_below_six_megabytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(3)
    slices = []
    for result in short_axis_slices(60, (128, 120)):
        frames = result.cine.frames + noise.normal(0, 10, result.cine.frames.shape).astype(np.float32)
        slices.append(replace(result, cine=replace(result.cine, frames=frames)))
    path = write_report(write_results(tmp_path / "a", slices))
    assert path.name == "report.html"
    assert path.stat().st_size < LIMIT_BYTES


def test_the_page_fetches_nothing(tmp_path: Path) -> None:
    page = page_of(write_results(tmp_path / "a", short_axis_slices(4)))
    assert not re.findall(r'(?:src|href)\s*=\s*["\'](?!data:)', page)
    assert "default-src 'none'" in page


def test_key_figures_have_their_closed_form(tmp_path: Path) -> None:
    """Rings of radius R shrink to sqrt(R^2 - 0.52 INNER^2): E_cc = -0.26 INNER^2 / R^2, and all slices turn alike."""
    text = words(page_of(write_results(tmp_path / "a", short_axis_slices(24))))
    match = re.search(r"Peak circumferential strain, mid-wall −([\d.]+) % .*?; whole wall −([\d.]+) %", text)
    assert match is not None
    of_ring = 100 * 0.26 * INNER_MM**2 / np.linspace(INNER_MM, OUTER_MM, 7) ** 2
    assert float(match[1]) == pytest.approx(np.mean(of_ring[2:5]), abs=0.6)
    assert float(match[2]) == pytest.approx(np.mean(of_ring), abs=0.6)
    assert "on real walls too large" in text
    assert re.search(r"Twist, base to apex −?0\.\d° torsion −?0\.0 °/cm", text)


def test_each_peak_of_a_slice_stands_under_the_name_of_what_it_is_of(tmp_path: Path) -> None:
    study = read_saved_study(write_results(tmp_path / "a", short_axis_slices(9)))
    assert study.function is not None
    page = render_page(study)
    result, mechanics = study.results.slices[0], study.function.slices[0]
    row = r'<th scope="row">basal</th>(.*?)</tr>'
    header = re.search(r'<th scope="col">Slice</th>(.*?)</tr>', page)
    values = re.search(row, page)
    assert header is not None
    assert values is not None
    shown = dict(zip(re.findall(r">([^<]+)</th>", header[1]), re.findall(r"<td>(.*?)</td>", values[1]), strict=True))
    whole_wall = mechanics.circumferential.slice_mean
    assert shown["Circ. peak, whole wall"] == percent_text(whole_wall.peak)
    assert shown["Circ. at ES, whole wall"] == percent_text(whole_wall.end_systolic)
    assert shown["Circ. peak, mid-wall ring (chords)"] == percent_text(np.min(result.strain.circumferential_midwall))
    assert [words(caption).strip() for caption in re.findall(r"<figcaption>(.*?)</figcaption>", page)[:3]] == [
        "Peak circumferential strain, whole wall, %",
        "Peak radial strain, whole wall, %",
        "Time to peak circumferential strain, whole wall, ms",
    ]


def test_the_healthy_range_lies_behind_the_mid_wall_curves_alone(tmp_path: Path) -> None:
    """At mid-wall, the middle three rings, E_cc = -0.26 INNER^2 / R^2; the range is of peaks near mid-wall."""
    page = page_of(write_results(tmp_path / "a", short_axis_slices(24)))
    charts = page_data(page)["charts"]
    shaded = [
        key for key, chart in charts.items() if any(shape["type"] == "rect" for shape in chart["layout"]["shapes"])
    ]
    assert shaded == ["circumferential_midwall"]
    lines = {
        trace["name"]: trace["y"] for trace in charts["circumferential_midwall"]["data"] if trace["mode"] == "lines"
    }
    assert list(lines) == ["basal", "mid", "apical", "ventricle"]
    of_ring = -100 * 0.26 * INNER_MM**2 / np.linspace(INNER_MM, OUTER_MM, 7)[2:5] ** 2
    assert_allclose([min(values) for values in lines.values()], np.mean(of_ring), atol=0.6)
    assert f"mid-wall −{-min(lines['ventricle']):.1f} %" in cards(page)[0]
    assert "peaks of healthy adults, near mid-wall, mean of the slices" in words(page)


def test_every_segment_of_a_uniform_contraction_has_the_same_value_in_table_and_chart(tmp_path: Path) -> None:
    page = page_of(write_results(tmp_path / "a", short_axis_slices(12)))
    values = re.findall(r'<th scope="row">(\d+) (?:basal|mid|apical) [a-z]+</th><td>(−[\d.]+) %', page)
    assert [int(number) for number, _ in values] == list(range(1, 17))
    peaks = [float(value.replace("−", "-")) for _, value in values]
    assert np.ptp(peaks) < 0.3
    charts = page_data(page)["charts"]
    assert len(charts["segments"]["data"]) == 16
    lowest = [min(trace["y"]) for trace in charts["segments"]["data"]]
    assert_allclose(lowest, peaks, atol=0.06)


def test_the_player_gets_the_landmarks_of_the_pictures(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a", short_axis_slices(5))
    data, study = page_data(page_of(folder)), read_saved_study(folder)
    result = study.results.slices[2]
    record = data["slices"][2]
    steps = np.frombuffer(base64.b64decode(record["landmarks"]), "<i2").reshape(5, 24, 7, 2)
    assert_allclose(steps / data["stepsPerPx"], result.landmarks.points_px, atol=0.51 / data["stepsPerPx"])
    assert (record["rows"], record["columns"]) == result.cine.frames.shape[1:]
    strain = np.frombuffer(base64.b64decode(record["circumferential"]), "<i2").reshape(5, 24, 7)
    truth = ventricle_mechanics(study.results.slices).slices[2].deformation.circumferential.landmarks
    assert_allclose(strain / data["stepsPerUnitStrain"], truth, atol=1e-4)


def test_unknown_landmarks_are_marked_not_drawn_at_zero(tmp_path: Path) -> None:
    result = short_axis_slices(5)[1]
    points = result.landmarks.points_px.copy()
    points[3, 4] = np.nan
    folder = write_results(tmp_path / "a", [replace(result, landmarks=replace(result.landmarks, points_px=points))])
    data = page_data(page_of(folder))
    steps = np.frombuffer(base64.b64decode(data["slices"][0]["landmarks"]), "<i2").reshape(5, 24, 7, 2)
    assert (steps[3, 4] == data["missing"]).all()
    assert np.count_nonzero(steps == data["missing"]) == 14


def test_grades_reasons_intervals_and_failures_are_said(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a", short_axis_slices(4), SliceFailure("extra", "no ventricle found"))
    interval = {"peak_circumferential_interval_95": [-0.31, -0.12]}
    edit_json(folder, {"quality": {"grade": "usable", "reasons": ["tags end early"], **interval}})
    text = words(page_of(folder))
    assert "extra: not analyzed: no ventricle found" in text
    assert "basal: quality usable: tags end early" in text
    assert "(95 %: −31.0 to −12.0)" in text
    assert text.count("not assessed") == 2
    assert "not for diagnostic use" in text
    assert "3 of 4 slices analyzed" in text
    assert "doi:10.1002/jmri.24749" in text


def test_segments_are_doubtful_unless_the_insertion_is_known_well(tmp_path: Path) -> None:
    result = short_axis_slices(4)[0]
    for name, confidence, is_doubtful in (("none", None, True), ("low", 0.4, True), ("high", 0.9, False)):
        insertion = None if confidence is None else Insertion(Point(40.0, 30.0), 0.3, confidence)
        folder = write_results(tmp_path / name, [replace(result, insertion=insertion)])
        assert ("Where the segments start is not certain" in words(page_of(folder))) is is_doubtful


def test_a_slice_in_no_bulls_eye_casts_no_doubt_on_the_segments(tmp_path: Path) -> None:
    first, second = short_axis_slices(4)[:2]
    sure = replace(first, insertion=Insertion(Point(40.0, 30.0), 0.3, 0.9))
    unknown = replace(second, cine=replace(second.cine, level=SliceLevel.UNKNOWN))
    text = words(page_of(write_results(tmp_path / "a", [sure, unknown])))
    assert "Where the segments start is not certain" not in text


@pytest.mark.parametrize(("lost", "missing"), [("affine", "distance between the slices"), ("points", "rotation of a")])
def test_a_twist_without_torsion_says_what_is_missing(tmp_path: Path, lost: str, missing: str) -> None:
    basal, _, apical = short_axis_slices(6)
    if lost == "affine":
        apical = replace(apical, cine=replace(apical.cine, affine=None))
    else:
        points = apical.landmarks.points_px.copy()
        points[1:] = np.nan
        apical = replace(apical, landmarks=replace(apical.landmarks, points_px=points))
    text = words(page_of(write_results(tmp_path / "a", [basal, apical])))
    assert re.search(rf"Twist, base to apex \S+ the {missing}[a-z ]* is not known", text)


def test_names_are_shown_as_text(tmp_path: Path) -> None:
    result = short_axis_slices(4)[0]
    odd = replace(result, cine=replace(result.cine, name="</script><b>x"), warnings=("a < b & c",))
    page = page_of(write_results(tmp_path / "a", [odd], key="<i>case</i>"))
    assert "</script><b>x" not in page
    assert "<i>case" not in page
    assert "a &lt; b &amp; c" in page
    assert page_data(page)["slices"][0]["name"] == "</script><b>x"


def test_a_study_whose_slices_all_failed_still_has_a_page(tmp_path: Path) -> None:
    page = page_of(write_results(tmp_path / "a", [], SliceFailure("mid", "no ventricle found")))
    assert "no slice could be measured" in words(page)
    assert "<canvas" not in page


def test_a_slice_of_unknown_level_is_in_no_bulls_eye(tmp_path: Path) -> None:
    result = short_axis_slices(4)[0]
    unknown = replace(result, cine=replace(result.cine, level=SliceLevel.UNKNOWN))
    page = page_of(write_results(tmp_path / "a", [unknown]))
    assert "its level is not known" in words(page)
    assert "None: the level of no slice is known" in words(page)
    assert "segments" not in page_data(page)["charts"]
    mixed = page_of(write_results(tmp_path / "b", [unknown, short_axis_slices(4)[1]]))
    assert mixed.count("not measured</title>") == 3 * 10


def test_wedges_tile_the_rings_with_anterior_at_the_top_and_the_septum_on_the_left() -> None:
    wedges = {wedge.segment: wedge for wedge in bulls_eye_wedges()}
    assert set(wedges) == set(SEGMENT_NAMES)
    area = sum((w.outer_radius**2 - w.inner_radius**2) * (w.end_deg - w.start_deg) / 360 for w in wedges.values())
    assert area == pytest.approx(1 - 0.16**2)
    directions = {"anterior": 90, "septal": 180, "inferior": 270, "lateral": 0}
    for number, name in SEGMENT_NAMES.items():
        place = name.split()[1]
        middle = (wedges[number].start_deg + wedges[number].end_deg) / 2
        if place in directions:
            assert middle % 360 == directions[place]
        else:
            assert 90 < middle < 270 if place.endswith("septal") else not 90 < middle % 360 < 270


def test_contraction_is_blue_and_text_can_be_read_on_every_color() -> None:
    for scale, sign in ((circumferential_scale(), -1), (radial_scale(), 1)):
        red, _, blue = (int(scale.color(0.6 * sign * abs(scale.low))[start : start + 2], 16) for start in (1, 3, 5))
        assert blue > red + 60
    assert (readable_on("#ffffff"), readable_on("#053061"), readable_on("#fde725")) == (
        "#000000",
        "#ffffff",
        "#000000",
    )


def test_numbers_are_written_for_readers() -> None:
    assert percent_text(-0.1734) == "−17.3 %"
    assert percent_text(-0.00001) == "0.0 %"
    assert number_text(float("nan"), 1, " ms") == number_text(None) == "–"


def test_a_rejected_slice_changes_no_value_of_the_ventricle_and_is_named(tmp_path: Path) -> None:
    basal, mid, apical = short_axis_slices(8)
    page = page_of(reject(write_results(tmp_path / "a", [basal, still(mid), apical]), 1))
    without = page_of(write_results(tmp_path / "b", [basal, apical]))
    assert cards(page) == cards(without)
    assert page.count("not measured</title>") == 3 * 6
    assert "mid: left out of the ventricle's values: quality reject" in html.unescape(words(page))
    assert "mid: quality reject: no tags are seen" in words(page)
    (flat,) = [trace for trace in page_data(page)["charts"]["circumferential"]["data"] if trace.get("name") == "mid"]
    assert_allclose(flat["y"], 0, atol=1e-6)


def test_a_study_of_rejected_slices_shows_them_and_says_why_there_is_no_ventricle(tmp_path: Path) -> None:
    page = page_of(reject(write_results(tmp_path / "a", short_axis_slices(4)), 0, 1, 2))
    assert "No values of the whole ventricle: quality reject." in words(page)
    assert cards(page) == []
    assert "Whole ventricle" not in page
    assert "<svg" not in page
    data = page_data(page)
    assert len(data["slices"]) == 3
    assert {trace["name"] for trace in data["charts"]["rate"]["data"]} == {"basal", "mid", "apical"}


def test_rows_of_unknown_level_are_shown_one_by_one_and_a_slice_alone_by_its_name(tmp_path: Path) -> None:
    rows = [
        replace(result, cine=replace(result.cine, name=f"row_{k}", level=SliceLevel.UNKNOWN, affine=None))
        for k, result in enumerate(short_axis_slices(4))
    ]
    page = page_of(write_results(tmp_path / "rows", rows))
    assert "No values of the whole ventricle: slices of unknown level are not taken together." in words(page)
    assert cards(page) == []
    assert "Whole ventricle" not in page
    assert "<td>not assessed</td>" in page
    alone = page_of(write_results(tmp_path / "alone", rows[:1]))
    assert len(cards(alone)) == 4
    assert "<caption>Slice row_0</caption>" in alone
    assert "Whole ventricle" not in alone
