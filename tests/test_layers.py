"""The structure holds: imports run downward, names name things, and every module has its test file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "lowdose"
TESTS = ROOT / "tests"
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))

NAMES_OF_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "managers"}

TESTED_ELSEWHERE = {
    # A report is tested as its reader gets it: the whole page, its tables and its images.
    **dict.fromkeys(
        ("report/content.py", "report/page.py", "report/pixels.py", "report/tables.py"), "test_report.py"
    ),
    **dict.fromkeys(
        ("io/lidc.py", "io/rtstruct.py", "io/scan_grid.py", "io/segmentation.py"), "io/test_annotations.py"
    ),
    "report/simulation.py": "cli/test_simulate.py",
    "phantoms/module_measurement.py": "phantoms/test_measurement.py",
    "report/phantom.py": "cli/test_phantom_measure.py",
    "report/any_object.py": "cli/test_phantom_measure.py",
}
"""Modules without a test file of their own, where they are tested, and why."""

ABOUT_THE_WHOLE = {
    "test_benchmarks",
    "test_denoisers",
    "test_docs",
    "test_import_speed",
    "test_layers",
    "test_licences",
    "test_invariances_study",
    "test_microct_dose_reduction",
    "test_task_driven",
    "test_telemetry",
}
"""Test files that belong to no module."""

CHECK = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def holds_code(module: Path) -> bool:
    """Whether a module defines anything; one that only names or re-exports what others define does not."""
    tree = ast.parse((SOURCE / module).read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree.body)


BATTERY = Path("networks") / "test_network.py"
"""What tests every network of the table, whether or not it also has tests of its own."""


def file_testing(module: Path) -> Path:
    """`io/dicom.py` is tested by `io/test_dicom.py`, and `cli/__init__.py` by `cli/test_cli.py`."""
    name = module.parent.name if module.name == "__init__.py" else module.stem
    return module.parent / f"test_{name}.py"


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_module_is_named_after_nothing(module: Path) -> None:
    assert {*module.parts[:-1], module.stem}.isdisjoint(NAMES_OF_NOTHING)


@pytest.mark.parametrize("module", [path for path in MODULES if holds_code(path)], ids=str)
def test_every_module_has_its_test_file(module: Path) -> None:
    expected = TESTED_ELSEWHERE.get(module.as_posix(), file_testing(module).as_posix())
    is_network = "(DenoisingNetwork)" in (SOURCE / module).read_text(encoding="utf-8")
    if is_network and not (TESTS / expected).is_file():
        expected = BATTERY.as_posix()
    assert (TESTS / expected).is_file(), f"there should be tests/{expected}"


def test_the_list_of_modules_tested_elsewhere_is_not_stale() -> None:
    listed = [Path(module) for module in TESTED_ELSEWHERE]
    assert [module for module in listed if not (SOURCE / module).is_file()] == []
    assert [module for module in listed if (TESTS / file_testing(module)).is_file()] == []


def test_every_test_file_has_its_module() -> None:
    known = {file_testing(module) for module in MODULES} | {Path(name) for name in TESTED_ELSEWHERE.values()}
    strays = [
        path.relative_to(TESTS)
        for path in TESTS.rglob("test_*.py")
        if path.relative_to(TESTS) not in known and path.stem not in ABOUT_THE_WHOLE
    ]
    assert strays == []
