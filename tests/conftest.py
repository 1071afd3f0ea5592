"""Lets every test import the makers of synthetic input: `from tests.io.ct_factory import ct_series`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
