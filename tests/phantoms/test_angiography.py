"""Pairs of digital bodies: aligned to the voxel, alike but for blood, with their lumen known."""

from __future__ import annotations

import numpy as np
import pytest

from lowdose.phantoms.angiography import REGIONS, digital_pair

SMALL = {"n_slices": 2, "n_pixels": 64, "thickness": 10.0}


@pytest.mark.parametrize("region", REGIONS)
def test_the_truth_differs_where_blood_is_and_by_what_the_agent_adds(region):
    pair = digital_pair(region, "healthy", 1, **SMALL)
    change = pair.true_enhanced.hu - pair.true_plain.hu
    lumen = pair.arteries.hu > 0
    assert lumen.any()
    assert 200 < pair.enhancement < 600
    assert change[lumen].max() == pytest.approx(pair.enhancement, rel=0.15)
    assert (change >= -1e-3).all()
    assert np.median(change[~lumen]) == 0.0


def test_both_scans_are_of_one_body_with_noise_of_their_own():
    pair = digital_pair("thorax", "dissection", 3, **SMALL)
    plain, enhanced = pair.plain.hu, pair.enhanced.hu
    assert np.array_equal(pair.plain.affine, pair.enhanced.affine)
    fat = (np.abs(pair.true_plain.hu + 100) < 1) & (pair.true_enhanced.hu == pair.true_plain.hu)
    noise = plain[fat] - enhanced[fat]
    assert 3 < noise.std() < 120
    assert abs(plain[fat].mean() + 100) < 15
    again = digital_pair("thorax", "dissection", 3, **SMALL)
    assert np.array_equal(again.plain.read(0).hu, plain[0])


def test_a_disease_lies_in_the_middle_of_its_scan():
    pair = digital_pair("abdomen", "aneurysm", 2, **SMALL)
    healthy = digital_pair("abdomen", "healthy", 2, **SMALL)
    assert pair.arteries.hu.sum() > healthy.arteries.hu.sum()


def test_there_is_no_such_region():
    with pytest.raises(ValueError, match="no region 'knee'"):
        digital_pair("knee", "healthy", 1, **SMALL)
