"""The Python in README and docs runs as it stands there, and the commands named there exist."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from typer.main import get_command

from tagstrain.cli.main import app
from tagstrain.io.contours import read_contours

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "src" / "tagstrain" / "networks" / "assets"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_blocks_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {"__name__": "__main__"})
        assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_and_options_exist(page: Path) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for block in blocks(page, "sh"):
        for line in re.findall(r"^tagstrain (.*)$", block, flags=re.MULTILINE):
            name, *words = line.split("#")[0].split()
            known = {option for parameter in commands[name].params for option in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= known, line


def test_contours_of_the_guide_are_read(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "docs" / "guide.md", "json")
    path = tmp_path / "wall.json"
    path.write_text(example)
    assert set(read_contours(path)) == {"mid"}


@pytest.mark.parametrize("page", sorted((ROOT / "benchmarks").rglob("*.md")), ids=lambda p: p.stem)
def test_tables_are_of_the_shipped_weights_or_say_that_they_are_not(page: Path) -> None:
    text = page.read_text()
    shipped = {hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in ASSETS.glob("*.safetensors")}
    assert set(re.findall(r"sha256:([0-9a-f]{16})", text)) <= shipped or "earlier tracker" in text
