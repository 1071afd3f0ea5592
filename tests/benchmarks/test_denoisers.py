"""The equal-budget benchmark counts, chooses and tells apart as it says."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowdose.networks import NETWORKS
from lowdose.training.dataset import NOISE_STEP, PreparedScan
from lowdose.training.loop import TrainingError

FOLDER = Path(__file__).parents[2] / "benchmarks" / "denoisers"


@pytest.fixture(autouse=True)
def _modules_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def module(name: str) -> Any:
    return import_module(name)


def test_every_network_takes_part_with_a_plan_that_fits() -> None:
    entrants = module("entrants")
    assert set(entrants.networks()) == set(NETWORKS)
    told = entrants.sources()
    for name, network in entrants.networks().items():
        plan = network.plan(told, 1000, network.rate)
        assert (plan.network.name, plan.dose_gain, plan.scale_hu) == (name, 4.0, 500.0)
        assert plan.losses == (network.recipe.get("losses") or {})
        assert set(network.sizes) <= set(network.recipe["network"].get("sizes", {}))


def test_three_learning_rates_a_factor_of_three_apart() -> None:
    network = module("entrants").networks()["residual-unet"]
    assert network.rates == (0.000333, 0.001, 0.003)


def test_steps_fill_the_time_and_a_trial_run_cuts_them() -> None:
    budget = module("entrants").Budget
    assert budget().steps(60.0, 0.25) == 240
    assert budget().steps(60.0, 90.0) == 1
    assert budget(most_steps=20).steps(420.0, 0.25) == 20


def test_lengths_follow_from_the_number_of_steps() -> None:
    schedule = module("entrants").schedule
    assert schedule(2000, 1)["ema_decay"] == pytest.approx(0.995)
    assert schedule(2000, 4)["ema_decay"] == pytest.approx(0.98)  # 500 steps of the denoiser
    assert schedule(100_000, 1)["ema_decay"] == 0.998
    short = schedule(3, 4)
    assert (short["warmup"], short["validate_every"], short["checkpoint_every"]) == (1, 4, 1)
    assert short["ema_decay"] == 0.0


def test_what_is_smaller_than_in_the_recipe_is_said() -> None:
    networks = module("entrants").networks()
    assert networks["cnn-10"].differs == ""
    assert networks["red-cnn"].differs == "width 32 for 96"
    assert networks["wgan-vgg"].differs == "critics width 16, hidden 128"


def test_the_shipped_model_has_seen_the_test_patients() -> None:
    seen = module("entrants").seen_by_shipped
    assert seen("STS_003", "Soft-tissue-Sarcoma") == "training"
    assert seen("LIDC-IDRI-0001", "LIDC-IDRI-0001") == "validation"
    assert seen("L143", "Mayo") is None


def test_no_patient_is_tested_who_was_learned_from() -> None:
    entrants, cases = module("entrants"), module("cases")
    tested = {one.name for one in cases.held_out(entrants.sources(), Path("data"))}
    assert len(tested) == 13
    used = {one["name"] for one in entrants.sources() if one.get("split", "training") != "test"}
    used |= {name for one in entrants.sources() for name in one.get("validation_patients", ())}
    assert tested.isdisjoint(used)


def test_the_pace_is_the_median_of_whole_rounds_after_the_first_two() -> None:
    pace = module("learning").pace
    # Two steps a round: the rounds take 9, 9, 1, 2 and 6 s.
    seen = np.cumsum([0.0, 4.0, 5.0, 8.0, 1.0, 0.5, 0.5, 1.0, 1.0, 3.0, 3.0])
    assert pace(seen, 2) == {"seconds_per_step": 1.0, "rounds": 3}
    with pytest.raises(ValueError, match="no round"):
        pace(np.array([0.0, 1.0]), 4)


def test_the_best_rate_has_the_least_validation_error() -> None:
    rates = module("rates")
    errors = {"0.001": 0.61, "0.003": None, "0.000333": 0.64}
    assert rates.best_rate(errors) == 0.001
    assert rates.rates_to_try({"errors": errors, "rate": 0.001}) == [0.001, 0.000333]
    with pytest.raises(TrainingError, match="no learning rate"):
        rates.best_rate({"0.001": None})
    log = '{"validation_error": 0.7}\n{"validation_error": null}\n{"validation_error": 0.6}\n'
    least_error = module("learning").least_error
    assert least_error(log) == 0.6
    assert np.isnan(least_error(""))


@pytest.mark.parametrize(
    ("best", "wanted"),
    [
        (0.001, [0.001, 0.003, 0.000333]),  # it has a neighbour on either side
        (0.02, [0.001, 0.003, 0.000333, 0.009, 0.027]),  # two more, and no others
        (0.0001, [0.001, 0.003, 0.000333, 0.000111, 3.7e-05]),
    ],
)
def test_rates_are_tried_until_the_best_has_neighbours(best: float, wanted: list[float]) -> None:
    tried = module("rates").tried((0.000333, 0.001, 0.003), lambda rate: abs(np.log(rate / best)))
    assert sorted(map(float, tried)) == sorted(wanted)


def test_tuning_is_known_again_under_the_same_conditions_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = module("rates")
    monkeypatch.setattr(rates, "KNOWN", tmp_path / "rates.json")
    assert rates.known_tuning("cnn-10", "a") is None
    found = {"steps": 9, "errors": {"0.001": 0.6}, "rate": 0.001}
    rates.keep_tuning("red-cnn", "b", found | {"rate": 0.003})
    rates.keep_tuning("cnn-10", "a", found)
    assert rates.known_tuning("cnn-10", "a") == found
    assert rates.known_tuning("cnn-10", "b") is None
    assert rates.known_tuning("red-cnn", "b")["rate"] == 0.003


def test_an_input_has_four_times_the_variance_in_whole_hu() -> None:
    rng = np.random.default_rng(0)
    shape = (2, 128, 128)
    anatomy, noise = np.full(shape, 40.0), 20.0 * rng.standard_normal((4, *shape))
    hu = np.rint(anatomy + noise[3]).astype(np.int16)
    stored = np.rint(noise[:3].swapaxes(0, 1) / NOISE_STEP).astype(np.int16)
    scan = PreparedScan("one", 1.0, (3.0, 1.0, 1.0), hu, stored)
    low = module("cases").at_a_fraction(scan, 0, 4.0).hu
    assert low.std() == pytest.approx(40.0, rel=0.02)
    assert np.array_equal(low, np.rint(low))


def test_slices_are_the_middles_of_equal_shares() -> None:
    evenly = module("cases").evenly
    assert evenly(16, 4) == (2, 6, 10, 14)
    assert evenly(3, 3) == (0, 1, 2)


def test_rods_of_both_contrasts_take_turns() -> None:
    cases = module("cases")
    strong, faint = (np.array(cases.rod_places(hu)) for hu in cases.CONTRASTS)
    assert np.hypot(*strong.T) == pytest.approx([60.0] * 6)
    gaps = np.hypot(*(strong[:, None] - faint[None]).transpose(2, 0, 1)).min(axis=1)
    assert gaps == pytest.approx([2 * 60 * np.sin(np.pi / 12)] * 6)
    assert gaps.min() > 2 * cases.ROD_RADIUS + 7.0


def test_tissues_are_chosen_by_the_smoothed_reference() -> None:
    """Noise of 60 HU around 40 HU reaches fat and bone; no pixel is taken for either."""
    rng = np.random.default_rng(0)
    hu = np.full((160, 220), 40.0)
    hu[30:130, 90:150] = -800.0  # a lung
    hu[:, 170:] = -800.0  # a blanket
    masks = module("scores").tissue_masks(hu + rng.normal(0, 60, hu.shape))
    assert masks["soft tissue"][10:150, 15:75].mean() > 0.98
    assert masks["lung"][45:115, 105:135].mean() > 0.9
    assert not masks["lung"][:, 165:].any()
    assert not masks["soft tissue"][45:115, 105:135].any()
    assert not masks["fat"].any()  # smoothed edges pass through its range, too steeply
    assert not masks["bone"].any()


def test_noise_is_what_two_denoised_images_differ_by() -> None:
    scores = module("scores")
    rng = np.random.default_rng(1)
    truth = np.full((160, 160), 40.0) + rng.normal(0, 5, (160, 160))
    inputs = [truth + rng.normal(0, 20, truth.shape) for _ in range(2)]
    tally = scores.Tally((1.0, 1.0))
    tally.add(truth, [truth + 0.25 * (image - truth) + 3.0 for image in inputs], inputs)
    found = tally.result()
    assert found["input_noise"] == pytest.approx(20.0, rel=0.02)
    assert found["noise_left"] == pytest.approx(0.25, rel=1e-6)
    assert found["texture"] == pytest.approx(1.0, rel=1e-6)
    assert found["bias_soft_tissue"] == pytest.approx(3.0, abs=0.1)
    assert found["rmse"] == pytest.approx(np.hypot(5.0, 3.0), rel=0.03)
    assert np.isnan(found["bias_lung"])


def separable(values: dict[str, list[float]], better: str = "low") -> dict[str, bool]:
    found: dict[str, bool] = module("table").separable(
        {name: np.array(numbers) for name, numbers in values.items()}, better
    )
    return found


def test_pairs_tell_apart_what_means_would_not() -> None:
    """Patients differ by far more than methods do, but each of them by the same."""
    patients = np.array([3.0, 10.0, 22.0, 31.0, 50.0, 8.0, 17.0, 26.0])
    ragged = patients + np.array([2.0, -2.0, 2.1, -1.9, 2.0, -2.0, 2.0, -2.0])
    told = separable({"best": [*patients], "worse": [*(patients + 0.5)], "ragged": [*ragged]})
    assert told == {"best": False, "worse": True, "ragged": False}
    assert separable({"best": [*patients], "same": [*patients]}) == {"best": False, "same": False}
    high = separable({"low": [*patients], "high": [*(patients + 1)]}, "high")
    assert high == {"low": True, "high": False}


def results_of(values: dict[str, list[float]], key: str = "rmse") -> dict[str, Any]:
    return {
        name: {"patients": {f"p{k}": {key: value, "rmse_left": value} for k, value in enumerate(numbers)}}
        for name, numbers in values.items()
    }


def test_nothing_is_bold_without_a_difference() -> None:
    table = module("table")
    rmse = next(column for column in table.FIDELITY if column.key == "rmse")
    ours, theirs = [3.0, 10.0, 22.0, 31.0, 50.0], [4.0, 11.0, 23.5, 32.0, 51.0]
    clear = results_of({"cnn-10": ours, "red-cnn": theirs})
    assert table.marks(clear, rmse, [*clear]) == {"cnn-10": "bold"}
    alike = results_of({"cnn-10": ours, "red-cnn": [2.5, 11.0, 21.0, 33.0, 50.0], "median": theirs})
    assert table.marks(alike, rmse, [*alike]) == {"cnn-10": "dagger", "red-cnn": "dagger"}
    texture = next(column for column in table.CHARACTER if column.key == "texture")
    assert table.marks(clear, texture, [*clear]) == {}


def test_the_table_says_mean_interval_and_how_many_patients() -> None:
    table = module("table")
    column = table.Column("bias", "bias", 1, signed=True)
    assert table.cell(np.array([-2.0, -2.0, -2.0]), column) == "−2.0 [−2.0, −2.0]"
    assert table.cell(np.array([1.0, np.nan]), column) == "+1.0 (1)"
    assert table.cell(np.array([np.nan]), column) == ""
    clear = results_of({"cnn-10": [1.0, 1.0, 1.0], "identity": [0.5, 0.5, 0.5], "median": [2.0, 2.0, 2.0]})
    lines = table.patients_table(clear, [table.FIDELITY[1]]).splitlines()
    assert lines[2:] == [
        "| *Trained here, each for the same time* |  |",
        "| cnn-10 | **1.0** [1.0, 1.0] |",
        "| *Without training* |  |",
        "| median | 2.0 [2.0, 2.0] |",
        "| *Not ranked* |  |",
        "| input, unprocessed | 0.5 [0.5, 0.5] |",
    ]


def test_tables_go_between_their_markers() -> None:
    readme = module("readme")
    page = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    assert readme.with_tables(page, "new") == f"before\n{readme.BEGIN}\n\nnew\n\n{readme.END}\nafter\n"
    assert readme.with_tables(readme.with_tables(page, "old"), "new") == readme.with_tables(page, "new")
    assert (FOLDER / "README.md").read_text(encoding="utf-8").count(readme.BEGIN) == 1


def test_what_the_shipped_model_saw_is_put_into_words() -> None:
    told = module("readme").seen_in_words({"A": "training", "B": "training", "C": "validation", "D": None})
    assert "trained on 2 of these patients" in told
    assert "chosen on C" in told
    assert "never seen D" in told


def test_labels_in_the_figure_keep_apart() -> None:
    apart = module("picture").apart(np.array([[100.0, 100.0], [101.0, 100.0], [300.0, 50.0]]))
    assert np.hypot(*(apart[0] - apart[1])) > 12.0
    assert np.hypot(*(apart[2] - [300.0, 50.0])) < 30.0
