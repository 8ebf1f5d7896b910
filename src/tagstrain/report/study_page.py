"""The report of a study, one HTML file that needs no network: `write_report`."""

from __future__ import annotations

import base64
import gzip
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from tagstrain import __version__
from tagstrain.data import Provenance
from tagstrain.io.atomic import atomic_file, disk_told
from tagstrain.report.mechanics_files import segments_reliable
from tagstrain.report.page_bulls_eyes import bulls_eyes
from tagstrain.report.page_charts import HEALTHY_PEAKS, REFERENCE_COLOR, chart_legend, strain_charts
from tagstrain.report.page_cines import MISSING, STEPS_PER_PX, STEPS_PER_UNIT_STRAIN, cine_record
from tagstrain.report.page_notes import study_notes
from tagstrain.report.page_tables import key_figures, segment_table, slice_table, ventricle_table
from tagstrain.report.panels import ring_colors
from tagstrain.report.references import CIRCUMFERENTIAL_PEAK
from tagstrain.report.saved_study import SavedStudy, read_saved_study
from tagstrain.report.strain_colors import ColorScale, circumferential_scale, radial_scale
from tagstrain.report.study_function import StudyFunction

REPORT_HTML = "report.html"
_ASSETS = files("tagstrain.report") / "assets"


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a study's folder, from the results that are there; replaces an earlier one.

    Raises
    ------
    InputError
        If the results cannot be read or shown together (`read_saved_study`).
    OutputError
        If the page cannot be written.
    """
    study = read_saved_study(folder)
    with disk_told(folder / REPORT_HTML):
        return write_page(folder, study)


def write_page(folder: Path, study: SavedStudy) -> Path:
    """Write ``report.html`` of a study that was read already."""
    page = render_page(study)
    path = folder / REPORT_HTML
    with atomic_file(path, overwrite=True) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render_page(study: SavedStudy) -> str:
    """The report as HTML."""
    results, function = study.results, study.function
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["css_string"] = _css_string
    return environment.get_template("study.html.j2").render(
        study=results,
        function=function,
        n_analyzed=len(results.slices) + len(study.without_function),
        notes=study_notes(study),
        conventions=study.conventions,
        made_by=_made_by(results.provenance),
        software_version=__version__,
        css=_asset("page.css"),
        script=_asset("page.js"),
        plotly=_plotly_packed() if function else "",
        **({} if function is None else _function_parts(study, function)),
    )


def _function_parts(study: SavedStudy, function: StudyFunction) -> dict[str, Any]:
    """What the page shows of a study with at least one slice, and of its ventricle where there is one."""
    slices = study.results.slices
    names = [result.name for result in slices]
    charts = strain_charts(function, names)
    ventricle, taken = function.ventricle, [name for name in names if name not in function.left_out]
    tables = [slice_table(slices, function.slices, study.qualities)]
    return {
        "key_figures": [] if ventricle is None else key_figures(ventricle),
        "bulls_eyes": () if ventricle is None else bulls_eyes(ventricle),
        "are_segments_reliable": all(segments_reliable(slices, function).values()),
        "charts": charts,
        "legend": chart_legend(function, names),
        "reference": CIRCUMFERENTIAL_PEAK,
        "reference_color": REFERENCE_COLOR,
        "healthy_peaks": HEALTHY_PEAKS,
        "ventricle_table": None if ventricle is None else ventricle_table(ventricle, taken),
        "tables": tables if ventricle is None else [*tables, segment_table(ventricle)],
        "page_data": {
            "slices": [cine_record(result, slice_) for result, slice_ in zip(slices, function.slices, strict=True)],
            "charts": {chart.key: chart.figure for chart in charts},
            "scales": {
                "circumferential": _scale_record(circumferential_scale()),
                "radial": _scale_record(radial_scale()),
            },
            "ringColors": ring_colors(slices[0].landmarks.points_px.shape[2]),
            "stepsPerPx": STEPS_PER_PX,
            "stepsPerUnitStrain": STEPS_PER_UNIT_STRAIN,
            "missing": MISSING,
        },
    }


def _scale_record(scale: ColorScale) -> dict[str, Any]:
    """A color scale for the page's script, in percent."""
    return {"low": scale.low, "high": scale.high, "colors": scale.colors()}


def _made_by(provenance: Provenance) -> str:
    """Software and weights that made the results, in one line."""
    weights = ", ".join(f"{network} {version}" for network, version in provenance.weights.items())
    return f"tagstrain {provenance.software_version}, weights: {weights}"


def _css_string(text: str) -> str:
    """A text as a string of a style sheet; what could end the string or the sheet is written as its code point."""
    return '"' + re.sub(r"[^\w .,:-]", lambda match: f"\\{ord(match[0]):x} ", text) + '"'


def _asset(name: str) -> str:
    """A template, style sheet or script of the page."""
    return (_ASSETS / name).read_text(encoding="utf-8")


@cache
def _plotly_packed() -> str:
    """The plotting library, compressed: the page unpacks it, which keeps it below half its size."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode("utf-8"), 9, mtime=0)).decode("ascii")
