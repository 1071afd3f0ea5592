from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowdose.physics.geometry import CLINICAL_FAN, FanBeam
from lowdose.physics.redundancy import (
    displaced_weights,
    is_displaced,
    redundancy_weights,
    short_scan_weights,
)

FLAT = FanBeam(
    n_views=90,
    n_channels=120,
    channel_spacing=4.0,
    source_to_axis=500.0,
    source_to_detector=900.0,
    detector="flat",
)


@given(
    scan_angle=st.floats(np.pi + 0.01, 2 * np.pi - 1e-6),
    view=st.floats(0, 1),
    channel=st.floats(-0.99, 0.99),
)
def test_the_two_rays_of_a_line_share_it(scan_angle, view, channel):
    """Any fan that half a turn and the rest of the scan allow; a ray without partner has the whole line."""
    view_angle, channel_angle = view * scan_angle, channel * (scan_angle - np.pi) / 2
    partners = [view_angle + 2 * channel_angle + turn * np.pi for turn in (-1, 1)]
    measured = [one for one in partners if -1e-12 <= one <= scan_angle + 1e-12]
    own = short_scan_weights(np.array(view_angle), np.array(channel_angle), scan_angle)
    others = [short_scan_weights(np.array(one), np.array(-channel_angle), scan_angle) for one in measured]
    assert 0 <= own <= 1
    assert own + sum(others) == pytest.approx(1.0, abs=1e-5)


def test_weights_vanish_at_both_ends_and_change_smoothly():
    geometry = replace(CLINICAL_FAN, n_views=4000, scan_angle=np.pi + CLINICAL_FAN.fan_angle + 0.3)
    weights = redundancy_weights(geometry)
    assert not weights[0].any()
    assert weights[-1].max() < 1e-3
    assert np.abs(np.diff(weights, axis=0)).max() < 0.01
    assert np.abs(np.diff(weights, axis=1)).max() < 0.02


def test_the_shortest_scan_has_the_weights_of_parker():
    """Near the edge of the fan, where few views are measured twice: sin^2(pi b / 4 / (d - g))."""
    half_fan = 0.4
    channel_angles = np.linspace(0.34, 0.39, 9)[None, :]
    view_angles = np.linspace(0, 2 * (half_fan - 0.34), 40)[:, None]
    expected = np.sin(np.pi / 4 * np.minimum(view_angles / (half_fan - channel_angles), 2)) ** 2
    weights = short_scan_weights(view_angles, channel_angles, np.pi + 2 * half_fan)
    assert weights == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("geometry", [CLINICAL_FAN, FLAT, replace(FLAT, channel_shift=0.25)], ids=str)
def test_a_full_turn_counts_every_ray_half(geometry):
    weights = redundancy_weights(geometry)
    assert weights.shape == (geometry.n_views, geometry.n_channels)
    assert (weights == 0.5).all()
    assert not is_displaced(geometry)


@pytest.mark.parametrize("shift", [30.0, -30.0])
def test_a_displaced_detector_shares_what_it_sees_twice(shift):
    geometry = replace(FLAT, channel_shift=shift)
    angles = geometry.channel_angles
    near = min(-angles[0], angles[-1])
    inner = np.linspace(-near, near, 101)
    weights = displaced_weights(np.concatenate([angles, inner, -inner]))[len(angles) :]
    assert weights[:101] + weights[101:] == pytest.approx(1.0)
    measured = redundancy_weights(geometry)[0]
    assert is_displaced(geometry)
    assert measured[np.abs(angles) > near] == pytest.approx(1.0)
    assert measured[np.argmin(np.abs(angles + np.sign(shift) * near))] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scan_angle": np.deg2rad(200)}, "a scan of 200.0 degrees is too short: .* 209.6 degrees"),
        ({"scan_angle": 7.0}, "the scan covers 401.1 degrees; more than one turn"),
        ({"scan_angle": 4.5, "channel_shift": 30.0}, "needs a full turn, but the scan covers 257.8 degrees"),
        ({"channel_shift": 70.0}, "shifted by 70 channels; it must reach the axis"),
    ],
)
def test_scans_that_miss_lines_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        redundancy_weights(replace(FLAT, **change))


def test_the_shortest_scan_is_enough():
    shortest = replace(FLAT, scan_angle=np.pi + FLAT.fan_angle)
    assert redundancy_weights(shortest).max() == pytest.approx(1.0)
