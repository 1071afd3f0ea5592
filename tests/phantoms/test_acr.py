import numpy as np

from lowdose.phantoms.acr import ACR_464


def test_nominal_values_lie_in_the_pass_bands_of_the_programme():
    for insert in ACR_464.of_role("sensitometry").inserts:
        low, high = insert.band
        assert low <= insert.hu <= high


def test_low_contrast_sets_are_four_rods_a_diameter_apart():
    module = ACR_464.of_role("low contrast")
    for diameter in (6.0, 5.0, 4.0, 3.0, 2.0):
        rods = [insert for insert in module.inserts if insert.diameter == diameter]
        gaps = np.diff([insert.angle for insert in rods]) / 57.29578 * 60.0
        assert len(rods) == 4
        assert np.allclose(gaps, 2 * diameter)
        assert all(insert.hu - module.hu == 6.0 for insert in rods)


def test_bars_fill_their_blocks():
    for bars in ACR_464.of_role("resolution").bars:
        assert 12.9 < bars.extent <= 15.0
