from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile

from lowdose.denoising import denoise, make_denoiser
from lowdose.io import open_input
from lowdose.models.card import bundled_models
from tests.cli.runner import lowdose
from tests.io.body_series import body_series, stored_hu
from tests.io.ct_factory import ct_slice, save


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    return body_series(tmp_path_factory.mktemp("in") / "series", 2)


def test_the_default_is_the_shipped_model_and_the_file_holds_its_values(series, tmp_path):
    assert lowdose("denoise", series, tmp_path / "out").status == 0
    with open_input(series) as found:
        scan = found.cases[0].scan
        assert scan is not None
        expected = denoise(scan, make_denoiser("ct-default", scan)).hu
    assert np.array_equal(stored_hu(tmp_path / "out"), np.rint(expected))
    assert not np.array_equal(stored_hu(tmp_path / "out"), stored_hu(series))


@pytest.mark.parametrize("method", ["identity", "median", "ct-default"])
def test_at_strength_zero_every_pixel_stays(series, tmp_path, method):
    outcome = lowdose("denoise", series, tmp_path / "out", "--method", method, "--strength", "0")
    assert outcome.status == 0
    for was, now in zip(sorted(series.iterdir()), sorted((tmp_path / "out").glob("*.dcm")), strict=True):
        assert pydicom.dcmread(was).PixelData == pydicom.dcmread(now).PixelData


def test_half_the_strength_lies_half_way(series, tmp_path):
    for strength in ("0.5", "1"):
        words = ["--method", "gaussian", "--set", "sigma-px=2", "--set", "noise=20", "--strength", strength]
        assert lowdose("denoise", series, tmp_path / strength, *words).status == 0
    was, half, whole = (stored_hu(folder) for folder in (series, tmp_path / "0.5", tmp_path / "1"))
    assert np.abs(half - (was + whole) / 2).max() <= 1.0  # three roundings to whole HU
    assert np.abs(whole - was).max() > 20


def test_settings_reach_the_method_and_the_record(series, tmp_path):
    words = ["--method", "median", "--set", "size-px=5", "--set", "noise=12.5", "--json"]
    outcome = lowdose("denoise", series, tmp_path / "out", *words)
    assert outcome.status == 0
    assert outcome.json["options"]["settings"] == {"size_px": 5.0, "noise": 12.5}
    (step,) = outcome.json["cases"][0]["history"]
    assert step == {"name": "median", "parameters": {"noise_hu": 12.5, "size_px": 5.0, "strength": 1.0}}
    from scipy.ndimage import median_filter

    expected = median_filter(stored_hu(series)[0], 5, mode="nearest")
    assert np.array_equal(stored_hu(tmp_path / "out")[0], expected)


def test_the_header_says_which_method_and_how_much(series, tmp_path):
    lowdose("denoise", series, tmp_path / "out", "--strength", "0.25")
    header = pydicom.dcmread(tmp_path / "out" / "0001.dcm")
    assert header.SeriesDescription == "Chest 3.0 [lowdose ct-default s0.25]"
    assert header.SeriesNumber == 220
    assert header.ImageType[4] == "DENOISED"
    assert "strength 0.25" in header.DerivationDescription
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    parameters = record["cases"][0]["history"][0]["parameters"]
    assert parameters["strength"] == 0.25
    assert parameters["network"] in header.DerivationDescription


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--method", "magic"],
            "unknown method 'magic'; it is neither a model folder, nor an ONNX file, nor one of ct-default",
        ),
        (["--method", "."], "unknown method '.'"),
        (["--strength", "1.5"], "--strength is 1.5; it must be between 0 and 1"),
        (["--strength", "nan"], "--strength is nan; it must be between 0 and 1"),
        (["--set", "noise"], "--set noise: is not KEY=VALUE"),
        (["--set", "=3"], "--set =3: is not KEY=VALUE"),
        (["--method", "median", "--set", "noise="], "--set noise=: is not KEY=VALUE"),
        (["--method", "median", "--set", "noise=much"], "--set noise=much: much is not a number"),
        (["--method", "median", "--set", "radius=3"], "median has no setting radius; it has noise, size_px"),
        (["--method", "median", "--set", "size-px=4"], "size_px is 4.0; it must be an odd number of pixels"),
        (["--method", "median", "--set", "noise=-1"], "the noise level is -1.0"),
        (["--method", "median", "--set", "noise=nan"], "the noise level is nan"),
        (["--set", "noise=3"], "ct-default has no settings, but noise was given"),
        (["--method", "identity", "--set", "noise=3"], "identity has no settings"),
    ],
)
def test_wrong_use_is_one_sentence_before_anything_is_written(series, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    outcome = lowdose("denoise", series, tmp_path / "out", *words, "--json")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.error.startswith(sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_model_folder_of_ones_own_is_a_method(series, tmp_path):
    model = shutil.copytree(bundled_models()["ct-default"], tmp_path / "model")
    card = json.loads((model / "card.json").read_text()) | {"name": "a-very-long-name-of-a-model-of-ours"}
    (model / "card.json").write_text(json.dumps(card))
    assert lowdose("denoise", series, tmp_path / "out", "--method", model, "--strength", "0.0125").status == 0
    description = pydicom.dcmread(tmp_path / "out" / "0001.dcm").SeriesDescription
    assert description == "Chest 3.0 [lowdose a-very-long-nam s0.013]"


def test_a_damaged_model_is_one_sentence(series, tmp_path):
    model = shutil.copytree(bundled_models()["ct-default"], tmp_path / "model")
    with (model / "model.onnx").open("ab") as file:
        file.write(b"\0")
    outcome = lowdose("denoise", series, tmp_path / "out", "--method", model)
    assert outcome.status == 2
    assert outcome.error.startswith(f"{model / 'model.onnx'}: does not match the SHA-256 on its card")
    (model / "card.json").write_text("{")
    outcome = lowdose("denoise", series, tmp_path / "out", "--method", model)
    assert outcome.status == 2
    assert outcome.error.startswith(f"{model / 'card.json'}: not a valid model card")
    assert not (tmp_path / "out").exists()


def test_nothing_is_denoised_twice(series, tmp_path):
    """What was denoised before is left aside, alone or beside its source."""
    assert lowdose("denoise", series, tmp_path / "once", "--method", "median").status == 0
    again = lowdose("denoise", tmp_path / "once", tmp_path / "twice", "--method", "median")
    assert again.status == 1
    assert again.error.startswith(f"{tmp_path / 'once'} holds no CT series")
    assert "2 x a derived series of this program: give it the original" in again.error
    assert not (tmp_path / "twice").exists()
    both = tmp_path / "both"
    shutil.copytree(series, both / "source")
    shutil.copytree(tmp_path / "once", both / "denoised")
    outcome = lowdose("denoise", both, tmp_path / "new", "--method", "median", "--json")
    assert outcome.status == 0
    assert [Path(case["source"]).name for case in outcome.json["cases"]] == ["source"]
    aside = {Path(item["source"]).name: item["reason"] for item in outcome.json["left_aside"]}
    assert aside["denoised"] == "2 files: a derived series of this program: give it the original"


def test_a_simulated_dose_may_be_denoised(series, tmp_path):
    assert lowdose("simulate", series, tmp_path / "low", "--dose", "0.5").status == 0
    outcome = lowdose("denoise", tmp_path / "low", tmp_path / "out", "--method", "median")
    assert outcome.status == 0
    description = pydicom.dcmread(tmp_path / "out" / "0001.dcm").SeriesDescription
    assert description == "Chest 3.0 [lowdose dose 0.5 sim] [lowdose median s1]"


def test_what_is_no_image_is_never_written(series, tmp_path, monkeypatch):
    monkeypatch.setattr("lowdose.models.denoiser.ModelDenoiser.__call__", lambda self, hu: hu + np.inf)
    outcome = lowdose("denoise", series, tmp_path / "out", "--json")
    assert outcome.status == 1
    assert "slice 0: ct-default gave values that are not an image" in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_one_sentence(series, tmp_path, monkeypatch):
    def exhausted(self, hu):
        raise MemoryError

    monkeypatch.setattr("lowdose.models.denoiser.ModelDenoiser.__call__", exhausted)
    outcome = lowdose("denoise", series, tmp_path / "out")
    assert outcome.status == 1
    assert outcome.error == "Chest 3.0: not enough memory"


@pytest.mark.parametrize("side", [1, 2, 5, 33])
@pytest.mark.parametrize("method", ["median", "non-local-means", "ct-default"])
def test_slices_may_be_small(tmp_path, side, method):
    source = body_series(tmp_path / "in", 1, side=side)
    assert lowdose("denoise", source, tmp_path / "out", "--method", method).status == 0
    assert stored_hu(tmp_path / "out").shape == (1, side, side)


def test_a_setting_that_is_a_word_is_taken_as_one(tmp_path):
    save(ct_slice(np.zeros((40, 40), np.int16)), tmp_path / "in" / "1.dcm")
    outcome = lowdose(
        *("denoise", tmp_path / "in", tmp_path / "out", "--method", "iterative-tv"),
        *("--set", "algorithm=magic"),
    )
    assert outcome.status == 2
    assert "magic" in outcome.error
    assert "primal-dual" in outcome.error


def test_an_onnx_file_with_a_card_beside_it_is_a_method(series, tmp_path):
    onnx = tmp_path / "net.onnx"
    shutil.copy(bundled_models()["ct-default"] / "model.onnx", onnx)
    outcome = lowdose("denoise", series, tmp_path / "out", "--method", onnx)
    assert outcome.status == 2
    assert outcome.error.startswith(f"{onnx}: has no card beside it; write net.json as")
    (tmp_path / "net.yaml").write_text("{name: theirs, offset_hu: 0, scale_hu: 500, multiple: 8}")
    assert lowdose("denoise", series, tmp_path / "out", "--method", onnx).status == 0
    assert lowdose("denoise", series, tmp_path / "ours").status == 0
    assert np.array_equal(stored_hu(tmp_path / "out"), stored_hu(tmp_path / "ours"))
    header = pydicom.dcmread(tmp_path / "out" / "0001.dcm")
    assert header.SeriesDescription == "Chest 3.0 [lowdose theirs s1]"
    assert "dose_gain" not in header.DerivationDescription


def test_a_tiff_stack_becomes_a_tiff_stack(tmp_path):
    source = tmp_path / "mouse"
    source.mkdir()
    values = np.random.default_rng(0).integers(1800, 2200, (3, 40, 48)).astype(np.uint16)
    for z, plane in enumerate(values):
        tifffile.imwrite(source / f"slice_{z}.tif", plane, metadata=None)
    refused = lowdose("denoise", source, tmp_path / "out", "--method", "median")
    assert refused.status == 1
    assert "write scan.yaml in it with voxel_size_mm" in refused.error
    (source / "scan.yaml").write_text("voxel_size_mm: [0.06, 0.03, 0.03]\nrescale: [0.5, -1000]\n")
    for method in ("identity", "median"):
        outcome = lowdose("denoise", source, tmp_path / method, "--method", method, "--json")
        assert outcome.status == 0, outcome.err
        assert outcome.json["cases"][0]["facts"]["series_uid"] is None
    read = {
        name: np.stack([tifffile.imread(path) for path in sorted((tmp_path / name).glob("*.tif"))])
        for name in ("identity", "median")
    }
    assert np.array_equal(read["identity"], values)
    assert read["median"].dtype == np.uint16
    assert read["median"].std() < 0.7 * values.std()
    assert sorted(path.name for path in (tmp_path / "median").iterdir()) == [
        *("0001.tif", "0002.tif", "0003.tif"),
        *("run.json", "scan.yaml"),
    ]
    again = lowdose("denoise", tmp_path / "median", tmp_path / "again.nii.gz", "--method", "identity")
    assert again.status == 0
