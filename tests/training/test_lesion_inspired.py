from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import nn

from lowdose.models.card import HuScaling
from lowdose.networks.cpce_2d import Cpce2d
from lowdose.networks.critics.patch_critic import PatchCritic
from lowdose.networks.lesion_detector import LesionDetector
from lowdose.training.adversarial import Adversarial, Critic
from lowdose.training.batches import Batch, batch_of_step
from lowdose.training.experiment import make_fabric
from lowdose.training.lesion_inspired import (
    LEAST_OVERLAP,
    LesionInspired,
    Turns,
    Watching,
    _gradient_norm,
    jittered,
    last_layer,
    roi_distance,
)
from lowdose.training.loop import Schedule, Turn, fit
from lowdose.training.objective import Objective
from lowdose.training.supervised import Supervised
from tests.training.lesion_scans import squares

CPU = torch.device("cpu")
SCALING = HuScaling(0.0, 200.0)


def detector(seed: int = 3) -> LesionDetector:
    torch.manual_seed(seed)
    return LesionDetector(window=(-160.0, 240.0), width=8, anchors=((8, 12), (16, 24), (32, 48)))


def draw(generator: np.random.Generator):
    """Half a slice of squares, and the same with noise."""
    hu, boxes = squares(int(generator.integers(1000)), n_slices=2)
    lesions = np.array([(*boxes[0][0], 0.0)], np.float32)
    return hu[:1] + generator.normal(0, 40, (1, *hu.shape[1:])).astype(np.float32), hu[:1], lesions


TURNS = Turns(0, 2, 1)


def method(turns: Turns = TURNS, *, critic: bool = False, shares: float = 0.3) -> LesionInspired:
    torch.manual_seed(5)
    denoiser, objective = Cpce2d(width=4), Objective({"mse": 1.0})
    base: Supervised | Adversarial = Supervised(denoiser, SCALING, objective)
    if critic:
        critics = [Critic(PatchCritic(width=4), "image", 0.01)]
        base = Adversarial(denoiser, SCALING, objective, critics, "lsgan")
    return LesionInspired(base, Watching(detector()), turns, 1.0, shares, shares)


def turn(step: int, n: int = 2) -> Turn:
    return Turn(step, torch.Generator().manual_seed(step), slice(0, n), n, CPU)


def batch(step: int = 0, n: int = 2) -> Batch:
    return batch_of_step(draw, 1, step, range(n))


def weights(module: nn.Module) -> list[bytes]:
    return [value.detach().numpy().tobytes() for value in module.state_dict().values()]


class Descending:
    """Takes plain steps of gradient descent and remembers whose."""

    def __init__(self, one: LesionInspired) -> None:
        self.trained, self.taken = one.trained, []

    def __call__(self, name: str, loss: torch.Tensor) -> None:
        self.taken.append(name)
        module = self.trained[name].module
        module.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weight in module.parameters():
                if weight.grad is not None:
                    weight -= 1e-3 * weight.grad


def test_turns_are_those_of_algorithm_1():
    turns = Turns(pretraining=3, denoiser=4, detector=2)
    phases = [turns.phase(step) for step in range(15)]
    assert phases == ["pretraining"] * 3 + 2 * (["denoiser"] * 4 + ["detector"] * 2)
    assert [turns.round(step) for step in (3, 8, 9, 14)] == [0, 0, 1, 1]
    assert phases[: turns.steps_for(8)].count("denoiser") == 8
    assert phases[: turns.steps_for(6)].count("denoiser") == 6
    assert Turns(0, 5, 0).steps_for(12) == 12


@pytest.mark.parametrize("critic", [False, True])
def test_whose_turn_it_is_not_is_frozen_to_the_bit(critic):
    one = method(Turns(1, 2, 1), critic=critic)
    descend = Descending(one)
    for step in range(7):
        denoiser, watching = weights(one.base.denoiser), weights(one.watching.detector)
        one.step(batch(step), turn(step), descend)
        learned = (weights(one.base.denoiser) != denoiser, weights(one.watching.detector) != watching)
        assert learned == ((True, False) if one.turns.phase(step) == "denoiser" else (False, True))
    assert {"denoiser", "detector"} <= set(descend.taken)
    assert ("image critic" in descend.taken) == critic
    assert all(weight.requires_grad for weight in one.watching.parameters())


def test_pretraining_shows_the_normal_dose_and_turns_show_denoised_images(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "lowdose.training.lesion_inspired.detection_loss",
        lambda detector, hu, _batch, _turn, _features=None: (
            shown.append(hu) or sum(p.sum() for p in detector.parameters())
        ),
    )
    one = method(Turns(1, 1, 1))
    one.step(batch(0), turn(0), Descending(one))
    assert torch.allclose(shown[0], torch.from_numpy(batch(0).target), atol=1e-3)
    one.step(batch(2), turn(2), Descending(one))
    noisy = torch.from_numpy(SCALING.scaled(batch(2).noisy))
    with torch.no_grad():
        assert torch.allclose(shown[1], one.base.denoiser(noisy) * 200.0, atol=1e-2)


def test_weights_balance_the_gradients_at_the_last_layer_and_are_told():
    one = method(shares=0.25)
    told = one.step(batch(), turn(0), lambda *_: None)
    watched = one.watching
    assert told["weight of regions"] == pytest.approx(float(watched.weights[0]))
    assert told["weight of detection"] == pytest.approx(float(watched.weights[1]))
    assert min(watched.weights.tolist()) > 0
    norms: list[float] = []

    def descend(_name: str, loss: torch.Tensor) -> None:
        norms.append(_gradient_norm(loss, last_layer(one.base.denoiser)))

    for shares in ((0.0, 0.25), (0.25, 0.0)):  # one term at a time, weighed as before
        watched.calibrated.fill_(-1)
        watched.weights.zero_()
        alone = LesionInspired(one.base, watched, one.turns, 1.0, *shares)
        alone.step(batch(), turn(0), descend)
    LesionInspired(one.base, watched, one.turns, 1.0, 0.0, 0.0).step(batch(), turn(0), descend)
    with_detection, with_regions, without = norms
    assert with_detection == pytest.approx(without, rel=0.26)
    assert with_regions == pytest.approx(without, rel=0.26)
    assert with_detection != pytest.approx(without, rel=1e-6)


def test_calibration_goes_half_the_way_to_a_new_round():
    one = method(Turns(0, 1, 1))
    one.step(batch(), turn(0), lambda *_: None)
    first = one.watching.weights.clone()
    one.watching.weights *= 100.0
    one.step(batch(), turn(2), lambda *_: None)
    assert int(one.watching.calibrated) == 1
    assert one.watching.weights.tolist() == pytest.approx((10 * first).tolist(), rel=0.8)


def test_the_same_image_has_no_distance_and_another_has():
    network, hu = detector(), torch.from_numpy(batch().target)
    boxes = [torch.from_numpy(found[:, :4]) for found in batch().lesions]
    chance = torch.Generator().manual_seed(1)
    assert float(roi_distance(network, network.features(hu), hu, boxes, chance).detach()) == 0.0
    noisy = torch.from_numpy(batch().noisy)
    assert float(roi_distance(network, network.features(noisy), hu, boxes, chance).detach()) > 0.0


def test_jittered_boxes_overlap_their_own_and_stay_in_the_image():
    chance, generator = torch.Generator().manual_seed(1), np.random.default_rng(2)
    corners = generator.uniform(0, 80, (500, 2))
    boxes = torch.from_numpy(np.hstack([corners, corners + generator.uniform(3, 40, (500, 2))])).float()
    boxes[:, 2:] = boxes[:, 2:].clamp_max(96)
    moved = jittered(boxes, (96, 96), chance)
    low, high = torch.maximum(moved[:, :2], boxes[:, :2]), torch.minimum(moved[:, 2:], boxes[:, 2:])
    common = (high - low).prod(dim=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (moved[:, 2:] - moved[:, :2]).prod(1) - common
    assert float((common / union).min()) >= LEAST_OVERLAP - 1e-5
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 96
    assert float((moved != boxes).any(dim=1).float().mean()) > 0.7
    assert jittered(boxes[:0], (96, 96), chance).shape == (0, 4)


def test_of_volumes_the_middle_slice_is_judged():
    one = method()
    volume = torch.arange(3.0)[None, None, :, None, None] * torch.ones(2, 1, 3, 8, 8)
    assert torch.equal(one._hu(volume), torch.full((2, 1, 8, 8), 200.0))


def test_without_shares_it_is_the_method_it_is_around():
    plain, around = method(), method(shares=0.0)
    plain.base.step(batch(), turn(0), Descending(plain))
    around.step(batch(), turn(0), Descending(around))
    assert weights(plain.base.denoiser) == weights(around.base.denoiser)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(tmp_path):
    def run(folder, n_steps: int):
        folder.mkdir(exist_ok=True)
        schedule = Schedule(
            n_steps=6, batch_size=2, learning_rate=1e-3, warmup=2, ema_decay=0.9, validate_every=2,
            checkpoint_every=n_steps, seed=1,
        )  # fmt: skip
        one = method(Turns(1, 2, 1), critic=True)

        def told(progress) -> None:
            if progress.step == n_steps < 6:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            fit(
                make_fabric(), one, draw, lambda _network: None, schedule, folder, architecture={},
                on_progress=told,
            )  # fmt: skip
        return one

    whole = run(tmp_path / "whole", 6)
    run(tmp_path / "parts", 3)
    resumed = run(tmp_path / "parts", 6)
    for module in ("denoiser", "image critic", "detector"):
        assert weights(resumed.trained[module].module) == weights(whole.trained[module].module)
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert "weight of regions" in logs[0]
