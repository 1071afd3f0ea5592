import numpy as np
import pytest

from lowdose.physics.geometry import CLINICAL_FAN, FanBeam, ImageGrid, ParallelBeam, default_geometry


def test_the_clinical_fan_covers_a_field_of_half_a_metre():
    assert np.rad2deg(CLINICAL_FAN.channel_angles[-1] * 2) == pytest.approx(49.9, abs=0.1)
    assert 2 * CLINICAL_FAN.channel_offsets[-1] == pytest.approx(501.0, abs=2.0)


def test_rays_of_both_geometries_are_symmetric_about_the_axis():
    for geometry in (CLINICAL_FAN, ParallelBeam(8, 11, 0.7)):
        assert geometry.channel_offsets == pytest.approx(-geometry.channel_offsets[::-1])


def test_sampling_at_the_axis_is_the_distance_of_the_central_rays():
    offsets = CLINICAL_FAN.channel_offsets
    middle = len(offsets) // 2
    assert offsets[middle] - offsets[middle - 1] == pytest.approx(CLINICAL_FAN.sampling_at_axis, rel=1e-5)


def test_small_fields_get_a_beam_as_fine_as_their_pixels():
    clinical = default_geometry(ImageGrid((512, 512), (0.7, 0.7)))
    specimen = default_geometry(ImageGrid((400, 300), (0.05, 0.05)))
    assert isinstance(clinical, FanBeam)
    assert isinstance(specimen, ParallelBeam)
    assert specimen.channel_spacing == 0.05
    assert specimen.channel_offsets[-1] >= ImageGrid((400, 300), (0.05, 0.05)).radius
