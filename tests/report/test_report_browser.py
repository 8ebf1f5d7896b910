"""The report in a browser: it plays, switches and prints, fetches nothing, and everyone can use it."""

from __future__ import annotations

import importlib.resources
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from saved_results import short_axis_slices, write_results
from tagstrain.report.pdf import print_pdf
from tagstrain.report.study_page import write_report

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
LOCAL = ("file:", "data:", "blob:")
TIMEOUT_MS = 60_000
SEEN = "() => document.getElementById('cine').toDataURL()"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_results(tmp_path_factory.mktemp("study") / "case_7", short_axis_slices(8, (72, 66))))


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(params=[1280])
def page(request: pytest.FixtureRequest, browser: sync_api.Browser, report: Path) -> Iterator[sync_api.Page]:
    """The report, opened without a network; fails where it asks for one or where its script does."""
    context = browser.new_context(viewport={"width": request.param, "height": 900}, offline=True)
    context.set_default_timeout(TIMEOUT_MS)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda asked: None if asked.url.startswith(LOCAL) else problems.append(asked.url))
    opened.goto(report.as_uri())
    opened.wait_for_selector("body[data-ready=true]")
    yield opened
    context.close()
    assert problems == []


@pytest.mark.parametrize("page", [1280, 390], indirect=True)
def test_everything_fits_is_drawn_and_is_accessible(page: sync_api.Page) -> None:
    width = page.viewport_size["width"]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.locator(".plot .main-svg").count() >= 5
    assert page.locator(".plot .scatterlayer path.js-line").count() > 16
    assert page.locator("#cine").bounding_box()["width"] > 300
    page.evaluate((importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    violations = page.evaluate("async () => (await axe.run()).violations")
    grave = [(entry["id"], entry["help"]) for entry in violations if entry["impact"] in ("serious", "critical")]
    assert grave == []


def test_the_cine_plays_pauses_and_follows_its_controls(page: sync_api.Page) -> None:
    first = page.evaluate(SEEN)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => Number(document.getElementById('frame').value) > 1")
    page.get_by_role("button", name="Pause").click()
    frame = page.get_by_label("Frame").input_value()
    assert page.evaluate(SEEN) != first
    page.wait_for_timeout(300)
    assert page.get_by_label("Frame").input_value() == frame
    pictures = set()
    for overlay in ("landmarks", "contours", "circumferential", "radial", "none"):
        page.get_by_label("Overlay").select_option(overlay)
        pictures.add(page.evaluate(SEEN))
    assert len(pictures) == 5


def test_the_strain_overlay_is_blue_where_the_wall_shortens(page: sync_api.Page) -> None:
    page.get_by_label("Overlay").select_option("circumferential")
    page.evaluate("() => player.show(player.slice.esFrame)")
    blue = page.evaluate(
        """() => {
          const canvas = document.getElementById('cine');
          const [x, y] = player.slice.point(player.frame, 6, 1, canvas.width / player.slice.columns);
          return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data];
        }"""
    )
    assert blue[2] > blue[0] + 40


def test_the_keyboard_does_what_the_mouse_does(page: sync_api.Page) -> None:
    page.get_by_role("tab", name="basal").focus()
    before = page.evaluate(SEEN)
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="mid").get_attribute("aria-selected") == "true"
    assert page.evaluate("() => document.activeElement.textContent") == "mid"
    assert "slice mid" in page.locator("#cine").get_attribute("aria-label")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(SEEN) == before
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "play"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert "frame 2 of 8" in page.get_by_label("Frame").get_attribute("aria-valuetext")


def test_the_line_over_the_curves_follows_the_frame(page: sync_api.Page) -> None:
    where = "() => parseFloat(document.querySelector('#chart-radial .now').style.left)"
    page.evaluate("() => player.show(0)")
    start = page.evaluate(where)
    page.evaluate("() => player.show(player.slice.frameCount - 1)")
    plot = page.locator("#chart-radial .nsewdrag").bounding_box()
    assert page.evaluate(where) - start == pytest.approx(plot["width"], abs=2)


def test_every_printed_sheet_says_whose_it_is_what_made_it_and_what_it_is_not_for(
    browser: sync_api.Browser, tmp_path: Path
) -> None:
    key = '</style>"a\\b" {é}'
    odd = write_report(write_results(tmp_path / "odd", short_axis_slices(4), key=key))
    opened = browser.new_page()
    opened.goto(odd.as_uri())
    rules = opened.evaluate(
        """() => [...document.styleSheets[0].cssRules]
          .filter((rule) => rule instanceof CSSPageRule)
          .flatMap((page) => [...page.cssRules].map((box) => [page.selectorText, box.name, box.style.content]))"""
    )
    opened.close()
    said = {(sheet, place): json.loads(content) for sheet, place, content in rules if content.startswith('"')}
    assert said.pop(("", "bottom-left")) == "tagstrain 1.2.3, weights: tracker 0.1.0 sha256:ab"
    assert said.pop(("", "top-right")) == "Research software: not for diagnostic use."
    assert said.pop(("", "top-left")) == key
    assert said == {}


def test_a_standard_study_prints_on_two_pages(report: Path) -> None:
    assert CHROMIUM is not None
    printed = print_pdf(report, CHROMIUM)
    content = printed.read_bytes()
    assert printed.name == "report.pdf"
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) == 2
