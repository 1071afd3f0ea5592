from lowdose.physics.beam import Bowtie
from lowdose.physics.geometry import ConeBeam
from lowdose.physics.scanner import Scanner
from tests.physics.phantoms import FAN


def test_a_cone_beam_scanner_has_the_plane_of_its_central_rows():
    cone = ConeBeam(8, 4, 16, 1.0, 2.0, 200.0, 400.0)
    scanner = Scanner("one", "a cone beam", cone, photons=1e4, electronic=3.0)
    assert scanner.plane == cone.mid_plane
    assert Scanner("two", "a fan", FAN, 1e4, 3.0).plane == FAN


def test_the_beam_has_the_photons_of_a_dose():
    bowtie = Bowtie(200.0, 0.5)
    beam = Scanner("one", "a fan", FAN, 1e4, 3.0, bowtie, modulation=0.5).beam(0.25)
    assert (beam.photons, beam.electronic, beam.bowtie, beam.modulation) == (2500.0, 3.0, bowtie, 0.5)
