import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lowdose.cli import app
from lowdose.io import open_input

RUNNER = CliRunner()


def make(out, *arguments):
    return RUNNER.invoke(
        app, ["phantom", "make", *map(str, arguments[:1]), str(out), *map(str, arguments[1:])]
    )


def read(path):
    with open_input(path) as found:
        (case,) = found.cases
        return case.scan, case.scan.hu


def test_phantoms_are_listed():
    told = RUNNER.invoke(app, ["phantom", "list"])
    assert told.exit_code == 0
    assert all(name in told.stdout for name in ("water", "mita", "catphan504", "acr464", "mouse", "thorax"))
    as_json = json.loads(RUNNER.invoke(app, ["phantom", "list", "--json"]).stdout)
    assert "abdomen" in as_json


def test_a_mita_at_two_doses_with_repeats_and_the_truth(tmp_path):
    out = tmp_path / "mita"
    done = make(out, "mita", "--dose", 1, "--dose", 0.25, "--repeats", 2, "--slices", 2)
    assert done.exit_code == 0, done.stderr
    spreads = {}
    images = {}
    for dose in ("1", "0.25"):
        for repeat in ("01", "02"):
            scan, hu = read(out / f"dose-{dose}" / f"repeat-{repeat}")
            images[dose, repeat] = hu[:, 230:280, 230:280]
            spreads[dose] = images[dose, repeat].std()
    assert spreads["0.25"] / spreads["1"] == pytest.approx(2.0, rel=0.1)
    assert abs(np.corrcoef(images["1", "01"].ravel(), images["1", "02"].ravel())[0, 1]) < 0.05
    truth, values = read(out / "truth.nii.gz")
    assert truth.affine == pytest.approx(scan.affine)
    assert set(np.unique(values[0]).round(3)) >= {-1000.0, 0.0, 3.0, 5.0, 7.0, 14.0}
    assert images["1", "01"].mean() == pytest.approx(0.0, abs=1.0)
    described = json.loads((out / "truth.json").read_text())
    rod = described["findings"][0]
    z, y, x = np.linalg.solve(truth.affine[:3, :3], np.array(rod["centre"])[::-1] - truth.affine[:3, 3])
    assert values[round(z), round(y), round(x)] == rod["hu"] == 14.0
    run = json.loads((out / "run.json").read_text())
    assert len(run["cases"]) == 4
    assert run["options"]["kernel"] == "hann-1"


def test_nifti_and_kernels(tmp_path):
    sharp = make(tmp_path / "a", "water", "--slices", 1, "--format", "nifti", "--kernel", "ram-lak")
    soft = make(tmp_path / "b", "water", "--slices", 1, "--format", "nifti", "--kernel", "hann:0.5")
    assert (sharp.exit_code, soft.exit_code) == (0, 0)
    _, one = read(tmp_path / "a" / "scan.nii.gz")
    _, other = read(tmp_path / "b" / "scan.nii.gz")
    assert one[0, 240:270, 240:270].std() > 2 * other[0, 240:270, 240:270].std()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nope"], "there is no phantom 'nope'; choose one of water"),
        (["mita", "--kernel", "foo"], "there is no kernel 'foo'"),
        (["mita", "--kernel", "hann:x"], "is not a window and a number"),
        (["mita", "--dose", "0"], "give 0.0001 to 1000 times"),
        (["mita", "--dose", "nan"], "give 0.0001 to 1000 times"),
        (["mita", "--contrast", "100"], "has no blood to enhance"),
        (["mita", "--scanner", "nothing"], "nothing"),
    ],
)
def test_wrong_use_is_told_in_one_sentence(tmp_path, arguments, sentence):
    done = make(tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    done = make(tmp_path, "water", "--slices", 1)
    assert done.exit_code == 2
    assert "not empty" in done.stderr
