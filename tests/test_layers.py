"""Imports point one way, and looking at a file or at the help loads no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

import tagstrain

PACKAGE = Path(tagstrain.__file__).parent

ALLOWED = {
    "geometry": set(),
    "mechanics": set(),
    "data": {"geometry", "mechanics"},
    "io": {"geometry", "mechanics", "data"},
    "simulation": {"geometry", "mechanics", "data", "io"},
    "networks": {"geometry", "mechanics", "data", "io", "simulation"},
    "training": {"geometry", "mechanics", "data", "io", "simulation", "networks"},
    "inference": {"geometry", "mechanics", "data", "io", "simulation", "networks"},
    "report": {"geometry", "mechanics", "data", "io", "simulation", "networks", "training", "inference"},
    "plots": {"geometry", "mechanics", "data", "report"},
    "link": {"data", "io"},
    "cli": {"geometry", "mechanics", "data", "io", "simulation", "networks", "training", "inference", "report", "link"},
}
"""What each layer may import besides itself, `tagstrain` and `tagstrain.errors`."""


def imported_layers(source: str, module: str) -> Iterator[str]:
    """Layers that a module imports anywhere in it, also inside functions and under TYPE_CHECKING."""
    package = module.split(".")
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: -node.level], *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == "tagstrain" and len(parts) > 1 and parts[1] in ALLOWED:
                yield parts[1]


MODULES = sorted(path.relative_to(PACKAGE) for layer in ALLOWED for path in (PACKAGE / layer).rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_one_way(module: Path) -> None:
    layer = module.parts[0]
    dotted = ".".join(["tagstrain", *module.with_suffix("").parts])
    wrong = set(imported_layers((PACKAGE / module).read_text(encoding="utf-8"), dotted)) - ALLOWED[layer] - {layer}
    assert not wrong, f"{module} imports from {sorted(wrong)}"


@pytest.mark.parametrize(
    "source",
    [
        "import tagstrain.report.results",
        "from tagstrain.report import results",
        "from tagstrain import report",
        "from ..report import results",
        "def late():\n    from tagstrain.report.figures import draw",
    ],
)
def test_the_walk_sees_every_way_to_import(source: str) -> None:
    assert "report" in set(imported_layers(source, "tagstrain.io.dicom"))


def test_no_layer_is_left_out() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders == set(ALLOWED)


def loads_torch(code: str) -> bool:
    """Run code in a fresh interpreter and say whether torch was loaded."""
    check = f"import sys\n{code}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip().splitlines()[-1] == "True"


def test_import_loads_no_torch() -> None:
    assert not loads_torch("import tagstrain, tagstrain.geometry, tagstrain.mechanics, tagstrain.data, tagstrain.io")


def test_help_and_info_load_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "cine.h5"
    with h5py.File(path, "w") as file:
        file["image_seqs"] = np.ones((1, 3, 64, 64), np.uint16)  # large enough for tags to be measured
        file["px_spaces"] = [1.4]
    assert not loads_torch(
        "from tagstrain.cli.main import run\n"
        "for arguments in (['--help'], ['analyze', '--help'], ['track', '--help'], ['listen', '--help'], "
        f"['info', {str(path)!r}]):\n"
        "    assert run(arguments) == 0, arguments"
    )
