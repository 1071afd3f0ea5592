"""Modules of a study find each other; other studies have modules of the same names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _modules_find_each_other(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Those of the folder that the test file names `STUDY`."""
    study: Path = request.module.STUDY
    names = [path.stem for path in study.glob("*.py")]
    monkeypatch.syspath_prepend(str(study))
    others = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    yield
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(others)
