import numpy as np
import pytest

from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.primitives import ball, upright_cylinder
from lowdose.physics.geometry import ParallelBeam, VolumeGrid

BODY = upright_cylinder("body", 50.0, (0.0, 0.0, 0.0), (20.0, 30.0), 15.0)
LUMP = ball("lump", 300.0, (4.0, 0.0, 8.0), 5.0)
PHANTOM = Phantom("test", "a test", (BODY, LUMP))
GRID = VolumeGrid((11, 50, 70), (2.0, 1.0, 1.0))


def test_the_truth_holds_the_hu_of_the_last_solid_and_air_around():
    image = PHANTOM.image(GRID, 7, fine=2)
    assert image[25, 10] == 50.0
    assert image[25, 43] == 300.0
    assert image[2, 2] == -1000.0
    edge = image[5:10, 20]
    assert ((edge > -1000) & (edge < 50)).any()  # voxels at the edge are mixed


def test_line_integrals_and_truth_agree():
    """The mass in the truth is the mass along every view."""
    beam = ParallelBeam(n_views=7, n_channels=90, channel_spacing=1.0)
    image = PHANTOM.image(VolumeGrid((1, 80, 80), (0.01, 1.0, 1.0)), 0, fine=8)
    mass = ((image.astype(float) + 1000) / 1000 * 0.02).sum()
    totals = PHANTOM.line_integrals(beam, 0.0, water=0.02, rays=1).sum(axis=1)
    assert totals == pytest.approx(np.full(7, mass), rel=3e-3)


def test_labels_count_structures_from_one():
    assert PHANTOM.labels == ("body", "lump")
    label = PHANTOM.label_image(GRID, 7)
    assert label.dtype == np.uint8
    assert (label[25, 10], label[25, 43], label[0, 0]) == (1, 2, 0)


def test_its_extent_is_that_of_its_solids():
    assert PHANTOM.extent == (-15.0, 15.0)


def test_prisms_are_told_only_where_a_slice_is_the_same_all_through_it():
    prisms = Phantom("p", "p", (BODY, upright_cylinder("rod", 0.0, (0.0, 5.0, 5.0), (2.0, 2.0), 3.0)))
    assert prisms.prisms(0.0, 2.0) == (0, 1)
    assert prisms.prisms(8.0, 2.0) == (0,)
    assert prisms.prisms(3.0, 2.0) is None  # the rod ends in it
    assert prisms.prisms(40.0, 2.0) == ()
    assert PHANTOM.prisms(0.0, 2.0) is None
