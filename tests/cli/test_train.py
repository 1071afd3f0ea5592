from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lowdose.models.card import load_card
from tests.cli.runner import lowdose
from tests.io.body_series import body_series, stored_hu


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("anna", "ben"), start=1):
        body_series(folder / "ward" / name, seed=seed)
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def plan(tmp_path) -> Path:
    """The template, shortened, on the patients that are there."""
    content = yaml.safe_load(lowdose("train", "--template", "supervised").out)
    content["network"]["sizes"] = {"width": 8, "blocks": [1, 1, 1]}
    content["patch"] = 32
    content["schedule"] |= {"n_steps": 3, "batch_size": 2, "validate_every": 2, "checkpoint_every": 1}
    ward, one, _ = content["sources"]
    content["sources"] = [
        ward | {"path": "ward", "validation_patients": ["ben"]},
        one | {"path": "empty"},
    ]
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_template_is_printed_as_it_is():
    outcome = lowdose("train", "--template", "supervised")
    assert outcome.status == 0
    assert outcome.err == ""
    assert outcome.out.startswith("# A plan for `lowdose train`.")
    assert yaml.safe_load(outcome.out)["method"] == "supervised"


def test_a_template_becomes_a_model_that_denoises(plan, data, tmp_path):
    outcome = lowdose("train", plan, "--data", data, "--out", tmp_path / "run")
    assert outcome.status == 0
    model = tmp_path / "run" / "my-denoiser"
    assert load_card(model).name == "my-denoiser"
    assert f"use it with: lowdose denoise INPUT OUTPUT --method {model}" in outcome.err
    assert f"left out: {data / 'empty'} holds no CT series" in outcome.err
    assert re.search(r"step 2/3: loss \d\.\d{4}, validation \d\.\d{4} of the error left", outcome.err)
    source = data / "ward" / "ben"
    assert lowdose("denoise", source, tmp_path / "out", "--method", model).status == 0
    assert stored_hu(tmp_path / "out").shape == stored_hu(source).shape
    again = lowdose("train", plan, "--data", data, "--out", tmp_path / "run")
    assert again.status == 2
    assert "holds a training run; give --resume" in again.error


def test_a_run_out_of_time_says_how_to_go_on(plan, data, tmp_path):
    outcome = lowdose("train", plan, "--data", data, "--out", tmp_path / "run", "--max-minutes", "0")
    assert outcome.status == 0
    assert f"time is up; go on with: lowdose train {plan}" in outcome.err
    assert not (tmp_path / "run" / "my-denoiser").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--template", "magic"], "--template magic: unknown; known are supervised, adversarial, bilateral"),
        ([], "give a plan and --out FOLDER"),
        (["plan.yaml"], "give a plan and --out FOLDER"),
        (["nothing.yaml", "--out", "run"], "nothing.yaml: not found"),
        (["broken.yaml", "--out", "run"], "broken.yaml: not a YAML file"),
        (["plan.yaml", "--out", "run", "--resume"], "run: holds no checkpoint to resume"),
        (["plan.yaml", "--out", "run", "--data", "elsewhere"], "elsewhere/ward: the source 'chest-archive'"),
    ],
)
def test_wrong_use_is_one_sentence(plan, monkeypatch, words, sentence):
    monkeypatch.chdir(plan.parent)
    (plan.parent / "broken.yaml").write_text("a: [")
    outcome = lowdose("train", *words)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.error.startswith(sentence)


def test_without_torch_the_extra_is_named(plan, data, tmp_path):
    """In a process of its own: modules taken out of this one would come back as other modules."""

    def without_torch(*words: object) -> subprocess.CompletedProcess[str]:
        arguments = ["lowdose", *map(str, words)]
        code = (
            "import sys; sys.modules['torch'] = None; from lowdose.cli import main; "
            f"sys.argv = {arguments!r}; main()"
        )
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    outcome = without_torch("train", plan, "--data", data, "--out", tmp_path / "run")
    assert outcome.returncode == 2
    assert outcome.stderr.endswith("training needs torch; install it with: pip install 'lowdose[train]'\n")
    assert not (tmp_path / "run").exists()
    assert without_torch("train", "--template", "supervised").returncode == 0
    assert without_torch("methods").returncode == 0


def test_a_run_in_a_place_that_cannot_be_written_is_one_sentence(plan, data, tmp_path):
    (tmp_path / "file").write_text("mine")
    outcome = lowdose("train", plan, "--data", data, "--out", tmp_path / "file")
    assert outcome.status == 1
    assert str(tmp_path / "file") in outcome.error
    assert (tmp_path / "file").read_text() == "mine"
