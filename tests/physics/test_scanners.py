import numpy as np
import pytest

from lowdose.physics.geometry import FanBeam, ImageGrid, ParallelBeam
from lowdose.physics.scanner import ScannerError
from lowdose.physics.scanners import SCANNERS, find_scanner, named_scanner, scanner_for
from lowdose.scan import Acquisition

BODY = ImageGrid((512, 512), (0.8, 0.8))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("SOMATOM Definition AS+", "siemens-as+"),
        ("LightSpeed VCT", "ge-lightspeed"),
        ("LightSpeed16", "ge-lightspeed"),
        ("Discovery CT750 HD", "ge-ct750hd"),
        ("Brilliance 64", "philips-brilliance"),
        ("On-Board Imager", "varian-obi"),
    ],
)
def test_the_header_names_the_scanner(model, name):
    choice = scanner_for(Acquisition(model=model), BODY)
    assert choice.scanner is SCANNERS[name]
    assert model in choice.read[0]
    assert choice.assumed == ()


def test_a_silent_header_is_said():
    choice = scanner_for(Acquisition(), BODY)
    assert choice.scanner.name == "siemens-as+"
    assert "names no scanner" in choice.assumed[0]
    unknown = scanner_for(Acquisition(model="Marvel 9"), BODY)
    assert "Marvel 9, which is not known" in unknown.assumed[0]


def test_an_unknown_scanner_with_distances_keeps_a_field_of_half_a_metre():
    told = Acquisition(model="Marvel 9", source_to_axis=606.0, source_to_detector=1062.0)
    geometry = scanner_for(told, BODY).scanner.geometry
    assert isinstance(geometry, FanBeam)
    assert (geometry.source_to_axis, geometry.source_to_detector) == (606.0, 1062.0)
    assert np.abs(geometry.channel_offsets).max() == pytest.approx(250.0, abs=1.0)


def test_a_specimen_gets_a_parallel_beam_that_covers_it():
    grid = ImageGrid((400, 300), (0.05, 0.05))
    choice = scanner_for(Acquisition(), grid)
    assert isinstance(choice.scanner.geometry, ParallelBeam)
    assert np.abs(choice.scanner.geometry.channel_offsets).max() >= grid.radius
    assert "no clinical field" in choice.assumed[0]


@pytest.mark.parametrize("name", SCANNERS)
def test_every_scanner_covers_what_it_is_for_and_says_where_its_numbers_are_from(name):
    scanner = SCANNERS[name]
    assert named_scanner(name) is scanner
    assert scanner.sources
    reach = np.abs(scanner.plane.channel_offsets).max()
    if scanner.models and name != "varian-obi":
        assert reach == pytest.approx(250.0, rel=0.03)
    assert 1e3 < scanner.photons < 1e7


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(ScannerError, match=r"unknown scanner 'x'.*auto.*siemens-as\+"):
        find_scanner("x", Acquisition(), BODY)


def test_a_file_is_found(tmp_path):
    path = tmp_path / "ours.yml"
    path.write_text("geometry: {kind: parallel, views: 100, channels: 90, channel_spacing_mm: 1}")
    assert find_scanner(str(path), Acquisition(), BODY).scanner.name == "ours"


@pytest.mark.parametrize("model", ["Mobius Airo", "Mobile CT", "Enforcer"])
def test_a_part_of_a_word_is_no_model(model):
    choice = scanner_for(Acquisition(model=model), BODY)
    assert choice.scanner is SCANNERS["siemens-as+"]
    assert choice.read == ()


def test_distances_of_the_header_count_more_than_those_of_its_family():
    told = Acquisition(model="Revolution CT", source_to_axis=625.6, source_to_detector=1097.6)
    scanner = scanner_for(told, BODY).scanner
    assert (scanner.geometry.source_to_axis, scanner.geometry.source_to_detector) == (625.6, 1097.6)
    assert scanner.geometry.n_channels == SCANNERS["ge-ct750hd"].geometry.n_channels
    same = Acquisition(model="Discovery CT750 HD", source_to_axis=538.5, source_to_detector=946.7)
    assert scanner_for(same, BODY).scanner is SCANNERS["ge-ct750hd"]


def test_names_may_be_written_large():
    assert named_scanner("Siemens-AS+") is SCANNERS["siemens-as+"]
