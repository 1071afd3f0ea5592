import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowdose.physics.geometry import FanBeam, ImageGrid, ParallelBeam
from lowdose.physics.projector import Projector
from tests.physics.phantoms import GEOMETRIES, GRID, chords, disc


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("centre", [(0.0, 0.0), (31.0, -22.5)])
def test_line_integrals_of_a_disc_are_its_chords(geometry, centre):
    exact = chords(geometry, 60.0, centre)
    measured = Projector(GRID, geometry)(disc(GRID, 60.0, centre))
    inner = exact > 30.0  # rays that graze the edge see the pixels, not the disc
    assert np.abs(measured - exact)[inner].max() < 1.25 * GRID.spacing[0]
    assert np.abs(measured - exact)[inner].mean() < 0.25
    assert abs((measured - exact)[inner].mean()) < 0.05
    assert not measured[chords(geometry, 63.0, centre) == 0].any()


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    spacing=st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0)),
    fan=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_adjoint_is_the_transpose(shape, spacing, fan, seed):
    geometry = (
        FanBeam(
            n_views=11, n_channels=29, channel_spacing=2.3, source_to_axis=150.0, source_to_detector=270.0
        )
        if fan
        else ParallelBeam(n_views=12, n_channels=31, channel_spacing=1.7)
    )
    projector = Projector(ImageGrid(shape, spacing), geometry)
    generator = np.random.default_rng(seed)
    image = generator.standard_normal(projector.domain_shape).astype(np.float32)
    sinogram = generator.standard_normal(projector.range_shape).astype(np.float32)
    forward, backward = projector(image), projector.adjoint(sinogram)
    assert forward.shape == sinogram.shape
    assert backward.shape == image.shape
    scale = np.linalg.norm(forward) * np.linalg.norm(sinogram) + 1e-12
    difference = np.vdot(forward.astype(float), sinogram) - np.vdot(image.astype(float), backward)
    assert abs(difference) / scale < 1e-6


def test_projection_conserves_mass():
    """In a parallel view the integrals over the channels sum to the mass of the image."""
    geometry = ParallelBeam(n_views=9, n_channels=600, channel_spacing=0.5)
    image = disc(GRID, 70.0, (12.0, 5.0))
    mass = image.sum() * GRID.spacing[0] * GRID.spacing[1]
    views = Projector(GRID, geometry)(image).sum(axis=1) * geometry.channel_spacing
    assert views == pytest.approx(mass, rel=2e-3)


def test_wrong_shapes_are_refused():
    projector = Projector(GRID, GEOMETRIES["fan"])
    with pytest.raises(ValueError, match="the image is"):
        projector(np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match="the sinogram is"):
        projector.adjoint(np.zeros((3, 3), np.float32))
