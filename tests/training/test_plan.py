from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lowdose.cli.train import template_names, template_text
from lowdose.networks import NETWORKS
from lowdose.training.experiment import method_of, network_of
from lowdose.training.loop import Schedule
from lowdose.training.plan import PlanError, read_plan

SMALLEST = """\
name: mine
version: "1"
summary: A sentence.
network: {name: residual-unet}
schedule: {n_steps: 5}
sources:
  - {name: chest, path: chest, licence: in-house, citation: in-house}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(folder: Path, **changes) -> Path:
    content = yaml.safe_load(SMALLEST)
    for key, value in changes.items():
        place = content
        *above, last = key.split("__")
        for name in above:
            place = place[int(name) if name.isdigit() else name]
        place[last] = value
    return written(folder, yaml.safe_dump(content))


def test_the_template_is_a_plan(tmp_path):
    plan = read_plan(written(tmp_path, template_text("supervised") or ""))
    assert (plan.method, plan.name, plan.version) == ("supervised", "my-denoiser", "1")
    assert plan.network.sizes == {"width": 32, "blocks": [2, 1, 2]}
    assert plan.schedule.n_steps == 20000
    assert plan.sources[0].validation_patients == ("patient-07",)
    assert plan.sources[1].path == Path("abdomen/scan-1")
    assert plan.sources[2].split_of("patient-4") == "test"


def test_a_network_without_a_template_of_its_own_has_the_plainest(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "brand-new", NETWORKS["cnn-10"])
    plan = read_plan(written(tmp_path, template_text("brand-new") or ""))
    assert (plan.network.name, plan.network.sizes) == ("brand-new", {})
    assert template_text("magic") is None


@pytest.mark.parametrize("name", sorted({*template_names(), *NETWORKS}))
def test_every_template_is_a_plan_whose_network_and_method_can_be_made(tmp_path, name):
    plan = read_plan(written(tmp_path, template_text(name) or ""))
    if name in NETWORKS:
        assert plan.network.name == name
    # The smallest of each: what is tested here is that names and sizes fit.
    sizes = {key: 8 if key == "width" else value for key, value in plan.network.sizes.items()}
    small = plan.model_copy(update={"network": plan.network.model_copy(update={"sizes": sizes})})
    method = method_of(small, network_of(small))
    assert "denoiser" in method.trained
    assert len(method.trained) == 1 + (len(plan.adversarial.critics) if plan.adversarial else 0)


def test_what_is_left_out_has_its_default(tmp_path):
    plan = read_plan(written(tmp_path, SMALLEST))
    assert (plan.dose_gain, plan.patch, plan.offset_hu, plan.scale_hu) == (4.0, (1, 80, 80), 0.0, 500.0)
    assert (plan.sources[0].patients, plan.sources[0].split, plan.sources[0].weight) == (
        "one",
        "training",
        1.0,
    )
    assert plan.schedule.schedule() == Schedule(5, 12, 1e-3, 200, 0.998, 500, 250, 1)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"surprise": 1}, "surprise"),
        ({"schedule__steps": 5}, "schedule.steps"),
        ({"sources__0__paht": "x"}, "sources.0.paht"),
        ({"schedule__n_steps": "many"}, "schedule.n_steps"),
        ({"schedule__n_steps": 0}, "schedule.n_steps"),
        ({"dose_gain": 1}, "dose_gain"),
        ({"patch": 0}, "patch.1"),
        ({"patch": [64, 64]}, "patch.2"),
        ({"patch": "large"}, "patch"),
        ({"scale_hu": -1}, "scale_hu"),
        ({"method": "magic"}, "method"),
        ({"name": "My Denoiser"}, "name"),
        ({"name": "../elsewhere"}, "name"),
        ({"version": "1\u00b2"}, "version"),
        ({"sources": []}, "the plan"),
        ({"manifest": "data.csv"}, "the plan"),
        ({"losses": {"l1": 0}}, "losses.l1"),
        ({"losses": {}}, "the plan"),
        ({"method": "adversarial"}, "the plan"),
        ({"adversarial": {"kind": "lsgan", "critics": []}}, "adversarial.critics"),
        ({"schedule__decay": "never"}, "schedule.decay"),
        ({"schedule__selection": "best"}, "schedule.selection"),
        ({"drawing": {"averaged": 2}}, "drawing.averaged"),
        ({"sources__0__split": "tset"}, "sources.0.split"),
        ({"sources__0__weight": 0}, "sources.0.weight"),
        ({"sources__0__validation_patients": ["a"]}, "sources.0"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path, changes, place):
    path = changed(tmp_path, **changes)
    with pytest.raises(PlanError) as caught:
        read_plan(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: {place}: ")
    assert "lowdose train --template supervised" in sentence
    assert "\n" not in sentence


def test_a_plan_without_training_data_is_refused(tmp_path):
    with pytest.raises(PlanError, match="no source has split 'training'"):
        read_plan(changed(tmp_path, sources__0__split="validation"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name: [1, 2\nschedule: {", "not a YAML file"),
        (b"name: \xff\xfe", "not a YAML file"),
        (b"name: \x00", "not a YAML file"),
        (b"", "the plan: "),
        (b"just a sentence", "the plan: "),
        (b"- a\n- b\n", "the plan: "),
        (b"summary: !!python/object/apply:os.getcwd []\n", "not a YAML file"),
    ],
)
def test_what_is_no_plan_is_one_sentence(tmp_path, content, reason):
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(PlanError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(f"{path}: {reason}")
    assert "\n" not in str(caught.value)


def test_a_missing_plan_is_one_sentence(tmp_path):
    with pytest.raises(PlanError, match=r"nothing\.yaml: cannot be read \(No such file"):
        read_plan(tmp_path / "nothing.yaml")
    with pytest.raises(PlanError, match="cannot be read"):
        read_plan(tmp_path)
