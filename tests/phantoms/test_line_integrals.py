from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowdose.phantoms.line_integrals import cone_integrals, plane_integrals
from lowdose.phantoms.primitives import ball, box, ellipsoid, frame_along, rod, table, upright_cylinder
from lowdose.physics.geometry import ConeBeam, FanBeam, ParallelBeam
from tests.physics.phantoms import ball_chords, chords

FAN = FanBeam(n_views=24, n_channels=61, channel_spacing=3.0, source_to_axis=200.0, source_to_detector=350.0)
PLANES = {
    "arc": FAN,
    "flat": replace(FAN, detector="flat"),
    "offset": replace(FAN, channel_shift=0.25),
    "short": replace(FAN, scan_angle=4.2),
    "parallel": ParallelBeam(n_views=20, n_channels=61, channel_spacing=1.7),
}
CONE = ConeBeam(9, 21, 31, 4.0, 3.0, 120.0, 220.0)


def random_solids(seed, n=40):
    generator = np.random.default_rng(seed)
    solids = [upright_cylinder("body", 0.0, (0.0, 0.0, 0.0), (30.0, 40.0), 30.0)]
    for k in range(n):
        centre = tuple(generator.uniform(-20, 20, 3))
        frame = frame_along(generator.standard_normal(3))
        sizes = tuple(generator.uniform(2, 9, 3))
        solids.append(
            [
                lambda: ellipsoid("e", 0.0, centre, sizes, frame),  # noqa: B023
                lambda: rod("r", 0.0, centre, tuple(generator.uniform(-20, 20, 3)), 2.5),  # noqa: B023
                lambda: box("b", 0.0, centre, sizes, frame),  # noqa: B023
            ][k % 3]()
        )
    return solids, generator.uniform(0.0, 2.0, len(solids))


def marched(solids, values, source, direction, length, n=40000):
    """Every ray cut into steps; the last solid that holds a step's middle counts."""
    at = (np.arange(n) + 0.5) * length / n
    places = source + at[:, None] * direction
    found = np.zeros(n)
    for solid, value in zip(solids, values, strict=True):
        own = (places - solid.centre) @ np.array(solid.frame).T
        inside = ((own / solid.radii) ** 2).sum(axis=1) <= 1
        inside &= (np.abs(own) <= solid.halves).all(axis=1)
        found[inside] = value
    return found.sum() * length / n


@pytest.mark.parametrize("geometry", PLANES.values(), ids=PLANES)
def test_overlapping_solids_count_as_a_march_along_the_ray_counts_them(geometry):
    solids, values = random_solids(1)
    sinogram = plane_integrals(table(solids, values), geometry, 3.0)
    for view, channel in np.random.default_rng(0).integers(0, sinogram.shape, (25, 2)):
        angle = geometry.view_angles[view] + geometry.channel_angles[channel]
        offset, c, s = geometry.channel_offsets[channel], np.cos(angle), np.sin(angle)
        direction = np.array([0.0, c, -s])
        start = np.array([3.0, offset * s, offset * c]) - 60 * direction
        assert sinogram[view, channel] == pytest.approx(
            marched(solids, values, start, direction, 120.0), abs=0.02
        )


def test_the_same_in_a_cone():
    solids, values = random_solids(2)
    sinogram = cone_integrals(table(solids, values), CONE)
    for view, row, channel in np.random.default_rng(0).integers(0, sinogram.shape, (30, 3)):
        c, s = np.cos(CONE.view_angles[view]), np.sin(CONE.view_angles[view])
        u, w = CONE.channel_places[channel], CONE.row_places[row]
        direction = np.array([w, u * s - 220.0 * c, u * c + 220.0 * s])
        direction /= np.linalg.norm(direction)
        source = 120.0 * np.array([0.0, c, -s])
        assert sinogram[view, row, channel] == pytest.approx(
            marched(solids, values, source, direction, 220.0, 60000), abs=0.03
        )


@pytest.mark.parametrize("geometry", PLANES.values(), ids=PLANES)
def test_a_cylinder_has_the_chords_of_its_disc(geometry):
    solid = upright_cylinder("c", 0.0, (5.0, 4.0, -7.0), (20.0, 20.0), 6.0)
    assert plane_integrals(table([solid], [2.0]), geometry, 9.0) == pytest.approx(
        2 * chords(geometry, 20.0, (4.0, -7.0)), abs=2e-5
    )
    assert not plane_integrals(table([solid], [2.0]), geometry, 11.1).any()


def test_a_ball_has_its_chords_in_a_cone():
    solid = ball("b", 0.0, (3.0, -4.0, 8.0), 11.0)
    exact = ball_chords(CONE, 11.0, (3.0, -4.0, 8.0))
    assert cone_integrals(table([solid], [0.5]), CONE) == pytest.approx(0.5 * exact, abs=2e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_lies_below_another_does_not_count(seed):
    """A solid covered wholly by a later one changes nothing, and one put over itself neither."""
    solids, values = random_solids(seed, 8)
    cover = box("cover", 0.0, (0.0, 0.0, 0.0), (50.0, 50.0, 50.0))
    above = plane_integrals(table([*solids, cover], [*values, 1.5]), FAN, 1.0)
    assert above == pytest.approx(plane_integrals(table([cover], [1.5]), FAN, 1.0), abs=1e-4)
    twice = plane_integrals(table([*solids, *solids], [*values, *values]), FAN, 1.0)
    assert twice == pytest.approx(plane_integrals(table(solids, values), FAN, 1.0), abs=1e-4)


def test_rays_across_a_channel_average_photons():
    solid = upright_cylinder("c", 0.0, (0.0, 0.0, 0.0), (20.0, 20.0), 6.0)
    solids = table([solid], [0.1])
    fine = replace(FAN, n_channels=183, channel_spacing=1.0)
    expected = -np.log(np.exp(-plane_integrals(solids, fine, 0.0)).reshape(24, 61, 3).mean(axis=2))
    assert plane_integrals(solids, FAN, 0.0, rays=3) == pytest.approx(expected, abs=1e-5)
    finer = replace(CONE, n_rows=42, n_channels=62, row_spacing=2.0, channel_spacing=1.5)
    passed = np.exp(-cone_integrals(solids, finer)).reshape(9, 21, 2, 31, 2).mean(axis=(2, 4))
    assert cone_integrals(solids, CONE, rays=2) == pytest.approx(-np.log(passed), abs=1e-5)


def test_nothing_attenuates_nothing():
    assert not plane_integrals(table([], []), FAN, 0.0).any()
    assert not cone_integrals(table([], []), CONE).any()
