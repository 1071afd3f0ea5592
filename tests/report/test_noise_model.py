from dataclasses import replace

import numpy as np
import pytest

from lowdose.physics.noise_patches import NoisePatches
from lowdose.quality.noise_likeness import compare_noise
from lowdose.report.noise_model import NoiseEvidence, mixed, mosaic, noise_model_report, verdict
from lowdose.report.page import rendered


def noise(n, seed):
    return 20.0 * np.random.default_rng(seed).standard_normal((n, 16, 16))


@pytest.fixture(scope="module")
def learned():
    real, made = noise(200, 1), noise(200, 2)
    places = np.stack([np.repeat([3, 5], [80, 120]), np.zeros(200), np.zeros(200)], axis=1).astype(np.intp)
    found = NoisePatches(
        "<b>scan</b>", "B30f", (0.7, 0.7), real.astype(np.float32), places, np.zeros(200), 210, {"uneven": 10}
    )
    likeness = compare_noise(real, made, (0.7, 0.7))
    return NoiseEvidence("autoencoder", "20 steps", [found], made, likeness, np.zeros((64, 64)))


def test_the_page_shows_both_and_says_where_the_noise_is_from(learned):
    content = noise_model_report(learned)
    assert [arm.name for arm in content.arms] == ["noise of the scans", "noise that was made"]
    assert content.tables[0].rows == (("<b>scan</b>", "200", "2", "19.9", "10 uneven"),)
    assert "slice 6 of <b>scan</b>" in content.figures[-1].caption
    page = rendered(content)
    assert "<b>scan</b>" not in page
    assert content.lead in page.replace("&#39;", "'")


def test_the_verdict_names_what_is_off(learned):
    good = replace(learned.likeness, told_apart=0.55, spectrum_mismatch=0.04, level_ratio=1.01)
    good = replace(good, kurtosis=(3.0, 3.1), skewness=(0.0, 0.02), correlation_length_ratio=1.02)
    assert verdict(good).startswith("The noise that was made is like that of the scans")
    bad = replace(good, spectrum_mismatch=0.2, kurtosis=(3.0, 4.0))
    assert verdict(bad).startswith(
        "The noise that was made differs from that of the scans in spectrum, moments:"
    )
    assert "in what a classifier sees" in verdict(replace(good, told_apart=0.7))


def test_a_mosaic_is_made_of_whole_patches():
    patches = np.arange(144.0)[:, None, None] * np.ones((1, 4, 5))
    image = mosaic(patches)
    assert image.shape == (48, 60)
    assert (image[:4, 5:10] == 1.0).all()
    assert (image[4:8, :5] == 12.0).all()


def test_few_patches_are_shown_more_than_once():
    assert mixed(noise(10, 1)).shape == (144, 16, 16)
    many = mixed(noise(300, 1))
    assert len(np.unique(many[:, 0, 0])) == 144
