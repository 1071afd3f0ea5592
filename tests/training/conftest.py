from pathlib import Path

import numpy as np
import pytest
import torch

from tests.io.body_series import body_series
from tests.io.ct_factory import ct_slice, save


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Networks this small lose more by waiting for a second thread than it computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def root(tmp_path_factory) -> Path:
    """A ward of three patients, a single scan, a scan of air, and a folder without any CT."""
    root = tmp_path_factory.mktemp("data")
    for seed, patient in enumerate(("anna", "ben", "cleo"), start=1):
        body_series(root / "ward" / patient, seed=seed)
    body_series(root / "single", seed=9, n_slices=1)
    for z in range(2):
        air = np.full((72, 72), -1000, np.int16)
        save(ct_slice(air, z=3.0 * z, number=z + 1), root / "air" / f"{z}.dcm")
    (root / "notes").mkdir()
    (root / "notes" / "readme.txt").write_text("nothing to see")
    return root


@pytest.fixture(scope="package")
def cache(root) -> Path:
    """Shared by all tests, so that each scan is prepared once."""
    return root.parent / "cache"
