"""The report as PDF, printed by a Chromium that is installed: `find_chromium`, `print_pdf`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tagstrain.errors import OutputError, TagstrainError
from tagstrain.io.atomic import atomic_file, disk_told

REPORT_PDF = "report.pdf"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_TIMEOUT_S = 120


def find_chromium() -> str:
    """Path of the first browser that can print.

    Raises
    ------
    TagstrainError
        If there is none.
    """
    for name in _BROWSERS:
        if path := shutil.which(name):
            return path
    raise TagstrainError(
        "--pdf needs Chromium or Chrome, and PATH has none of them. Install one (Debian: apt install chromium), "
        "or open report.html in any browser and print it"
    )


def print_pdf(page: Path, browser: str) -> Path:
    """Print a page that `write_report` wrote to ``report.pdf`` beside it; replaces an earlier one.

    Raises
    ------
    OutputError
        If the browser fails; with the last thing that it said.
    """
    path = page.with_name(REPORT_PDF)
    with disk_told(path), atomic_file(path, overwrite=True) as temporary, tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
            # The page unpacks its plotting library before it is complete.
            "--virtual-time-budget=30000",
            f"--print-to-pdf={temporary.resolve()}",
            page.resolve().as_uri(),
        ]
        if os.name == "posix" and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium refuses to run as root with it
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OutputError(f"{path.name}: {Path(browser).name} did not print it ({error})") from error
        if done.returncode != 0 or not temporary.exists():
            said = done.stderr.strip().splitlines() or ["nothing"]
            raise OutputError(f"{path.name}: {Path(browser).name} did not print it; it said: {said[-1]}")
    return path
