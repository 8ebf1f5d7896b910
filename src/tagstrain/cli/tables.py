"""The tables that commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tagstrain.data import SliceFailure, SliceResult
from tagstrain.quality import SliceQuality
from tagstrain.report.curves import CHORDS, PEAK_REGIONS, peak_strains

MAX_ROWS = 30
"""Slices shown on the screen; the files hold all of them."""
_SHOWN_PEAKS = ("circumferential_mean", "circumferential_midwall", "radial")
_PEAK_WIDTH = 9  # so that their headers wrap, and names of studies need not


class SliceTable:
    """ES time, peak strains and grade of up to `MAX_ROWS` slices, so that memory does not grow with a file."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, ...]] = []
        self._n_more = 0

    def add(self, study: str, result: SliceResult, quality: SliceQuality) -> None:
        """Add a slice."""
        self._append((study, result.name, *_strain_cells(result), str(quality.grade)))

    def fail(self, study: str, failure: SliceFailure) -> None:
        """Add a slice that could not be analyzed."""
        self._append((study, failure.name, "failed", "", "", "", ""))

    def extend(self, other: SliceTable) -> None:
        """Add the slices of another table."""
        for row in other._rows:
            self._append(row)
        self._n_more += other._n_more

    def __len__(self) -> int:
        return len(self._rows) + self._n_more

    def _append(self, row: tuple[str, ...]) -> None:
        if len(self._rows) < MAX_ROWS:
            self._rows.append(row)
        else:
            self._n_more += 1

    def render(self) -> Table:
        """The table."""
        table = Table(
            title=f"Peak Green-Lagrange strain of {CHORDS}",
            caption=f"{self._n_more} more slices in the files" if self._n_more else None,
        )
        for header in ("Study", "Slice"):
            table.add_column(header, overflow="fold")
        table.add_column("ES (ms)", justify="right")
        for name in _SHOWN_PEAKS:
            component = "Radial" if name == "radial" else "Circ."
            table.add_column(f"{component}, {PEAK_REGIONS[name]} (%)", justify="right", max_width=_PEAK_WIDTH)
        table.add_column("Quality")
        for row in self._rows:
            table.add_row(*row)
        return table


def timings_table(mean_s: Mapping[str, float], n_slices: int) -> Table:
    """Mean wall time per slice, stage by stage."""
    table = Table(title=f"Mean time per slice, {n_slices} analyzed")
    table.add_column("Stage")
    table.add_column("Time (s)", justify="right")
    for stage, seconds in mean_s.items():
        table.add_row(stage, f"{seconds:.3f}")
    table.add_section()
    table.add_row("total", f"{sum(mean_s.values()):.3f}")
    return table


def facts_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table of text, shown as it is: names of files may hold what rich takes for markup."""
    table = Table(title=Text(title), box=SIMPLE_HEAD, padding=0)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _strain_cells(result: SliceResult) -> tuple[str, ...]:
    """ES time and peaks as text."""
    strain = result.strain
    peaks = peak_strains(strain)
    values = [peaks[name].green_lagrange for name in _SHOWN_PEAKS]
    percent = ("" if peak is None else f"{100 * peak.value:.1f}" for peak in values)
    return f"{strain.frame_times_ms[strain.es_frame]:.0f}", *percent
