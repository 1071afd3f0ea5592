import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from lowdose.io import OutputError, open_input
from lowdose.io.new_series import Study, write_new_series
from lowdose.scan import Acquisition, Scan

GENERATOR = np.random.default_rng(0)
HU = GENERATOR.normal(0.0, 300.0, (5, 12, 16)).astype(np.float32)
SCAN = Scan.from_array(
    HU, spacing=(2.5, 0.7, 0.6), acquisition=Acquisition(kernel="hann-1", source_to_axis=595.0,
                                                         source_to_detector=1085.6),
)  # fmt: skip


def written(tmp_path, scan=SCAN, **changes):
    options = {"number": 3, "description": "a test"} | changes
    return write_new_series(scan, tmp_path / "series", Study("PHANTOM-TEST", "test study"), **options)


def test_what_is_written_is_read_again(tmp_path):
    seen = []
    done = written(tmp_path, on_slice=seen.append)
    assert seen == [0, 1, 2, 3, 4]
    assert done.n_slices == 5
    with open_input(tmp_path / "series") as found:
        (case,) = found.cases
        scan = case.scan
        assert scan.shape == (5, 12, 16)
        assert np.array_equal(scan.hu, np.rint(HU))
        assert scan.spacing == pytest.approx((2.5, 0.7, 0.6))
        assert scan.affine == pytest.approx(SCAN.affine)
        assert scan.acquisition.kernel == "hann-1"
        assert scan.acquisition.source_to_axis == 595.0


def test_all_slices_belong_to_one_series_and_no_patient(tmp_path):
    written(tmp_path)
    headers = [pydicom.dcmread(path) for path in sorted((tmp_path / "series").iterdir())]
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({header[keyword].value for header in headers}) == 1
    assert len({header.SOPInstanceUID for header in headers}) == 5
    assert headers[0].QualityControlSubject == "YES"
    assert headers[0].PatientBirthDate == ""
    assert headers[0].SeriesNumber == 3


def test_values_beyond_sixteen_bits_are_clipped_and_told(tmp_path):
    hu = np.zeros((1, 4, 4), np.float32)
    hu[0, 0, :2] = 40000.0, -40000.0
    done = written(tmp_path, Scan.from_array(hu))
    assert done.n_clipped == 2
    assert any("2 of 16" in note for note in done.notes)


def test_nothing_is_left_of_a_series_that_failed(tmp_path):
    hu = HU.copy()
    hu[3, 0, 0] = np.nan
    with pytest.raises(OutputError):
        written(tmp_path, Scan.from_array(hu))
    assert not list(tmp_path.iterdir())
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "mine.txt").write_text("kept")
    with pytest.raises(OutputError, match="not empty"):
        written(tmp_path)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
def test_dciodvfy_finds_nothing_wrong(tmp_path):
    written(tmp_path)
    done = subprocess.run(
        ["dciodvfy", tmp_path / "series" / "0001.dcm"], capture_output=True, text=True, check=False
    )
    told = [line for line in done.stderr.splitlines() if "Laterality" not in line]  # of no known side
    assert told == ["CTImage"]
