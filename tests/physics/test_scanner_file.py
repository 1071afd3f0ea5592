import numpy as np
import pytest

from lowdose.physics.beam import NO_BOWTIE, Bowtie
from lowdose.physics.geometry import ConeBeam, FanBeam, ParallelBeam
from lowdose.physics.scanner import ScannerError
from lowdose.physics.scanner_file import load_scanner

FAN = """
title: our scanner
geometry: {kind: fan-flat, views: 800, channels: 600, channel_spacing_mm: 1.5, source_to_axis_mm: 500,
           source_to_detector_mm: 900, channel_shift: 0.25, scan_degrees: 240}
photons: 5.0e+4
electronic_photons: 12
bowtie: {cylinder_mm: 250, compensation: 0.6}
crosstalk: 0.02
"""


def written(tmp_path, text):
    path = tmp_path / "ours.yaml"
    path.write_text(text)
    return path


def test_a_fan_beam_is_read(tmp_path):
    scanner = load_scanner(written(tmp_path, FAN))
    assert scanner.name == "ours"
    assert scanner.geometry == FanBeam(
        800, 600, 1.5, 500, 900, detector="flat", channel_shift=0.25, scan_angle=np.deg2rad(240)
    )
    assert scanner.bowtie == Bowtie(250, 0.6)
    assert (scanner.photons, scanner.electronic, scanner.crosstalk) == (5e4, 12, 0.02)


def test_parallel_and_cone_beams_are_read_and_the_rest_has_defaults(tmp_path):
    parallel = load_scanner(
        written(tmp_path, "geometry: {kind: parallel, views: 100, channels: 90, channel_spacing_mm: 1}")
    )
    assert parallel.geometry == ParallelBeam(100, 90, 1.0)
    assert parallel.bowtie == NO_BOWTIE
    cone = load_scanner(
        written(
            tmp_path,
            "geometry: {kind: cone, views: 10, rows: 8, channels: 9, row_spacing_mm: 1,"
            " channel_spacing_mm: 2, source_to_axis_mm: 100, source_to_detector_mm: 200}",
        )
    )
    assert isinstance(cone.geometry, ConeBeam)
    assert cone.geometry.magnification == 2.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("geometry: {kind: fan", "cannot be read as YAML"),
        ("photons: 5", "geometry"),
        (FAN.replace("photons: 5.0e+4", "photons: -1"), "photons"),
        (FAN + "colour: red\n", "colour"),
        (FAN.replace("channels: 600", "channels: many"), "channels"),
        (FAN.replace("source_to_detector_mm: 900", "source_to_detector_mm: 400"), "before the axis"),
        ("- 1\n- 2\n", "holds no settings"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_that_names_the_file(tmp_path, text, said):
    with pytest.raises(ScannerError, match=said) as told:
        load_scanner(written(tmp_path, text))
    assert "ours.yaml" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ScannerError, match=r"nowhere\.yaml"):
        load_scanner(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (FAN.replace("scan_degrees: 240", "scan_degrees: 185"), "too short"),
        (FAN.replace("channel_shift: 0.25", "channel_shift: 400"), "misses the axis"),
        ("- 5", "holds no settings"),
    ],
)
def test_impossible_geometries_are_one_sentence(tmp_path, text, told):
    with pytest.raises(ScannerError, match=rf"ours.yaml.*{told}") as raised:
        load_scanner(written(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ScannerError, match=r"none.yaml does not exist; give the name of a known scanner"):
        load_scanner(tmp_path / "none.yaml")
