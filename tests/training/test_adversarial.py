from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from lowdose.models.card import HuScaling
from lowdose.networks.critics.patch_critic import PatchCritic
from lowdose.networks.critics.unet_critic import UnetCritic
from lowdose.networks.critics.wgan_critic import WganCritic
from lowdose.networks.residual_unet import ResidualUnet
from lowdose.training.adversarial import Adversarial, Critic
from lowdose.training.batches import Batch
from lowdose.training.loop import Schedule, Turn, fit
from lowdose.training.objective import Objective

SCALING = HuScaling(0.0, 100.0)
CPU = torch.device("cpu")
PIXELS = Objective({"mse": 1.0})


def batch(n: int = 2, side: int = 32) -> Batch:
    generator = np.random.default_rng(0)
    target = generator.normal(0, 100, (n, 1, side, side)).astype(np.float32)
    return Batch(target + generator.normal(0, 60, target.shape).astype(np.float32), target)


def turn(step: int, n: int = 2) -> Turn:
    return Turn(step, torch.Generator().manual_seed(step), slice(0, n), n, CPU)


class Learner:
    """Takes steps as the loop does, and remembers of whom."""

    def __init__(self, method: Adversarial, rate: float = 1e-3) -> None:
        self.method, self.learned, self.losses = method, [], []
        self.optimizers = {
            name: torch.optim.Adam(one.module.parameters(), lr=rate, betas=one.betas)
            for name, one in method.trained.items()
        }

    def descend(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()
        self.learned.append(name)
        self.losses.append(float(loss.detach()))

    def step(self, number: int, images: Batch | None = None) -> dict[str, float]:
        self.learned, self.losses = [], []
        return self.method.step(images or batch(), turn(number), self.descend)


def wgan(**settings) -> Adversarial:
    torch.manual_seed(0)
    critic = Critic(WganCritic(width=4, n_hidden=8, patch=32), "image", 0.1)
    return Adversarial(ResidualUnet(width=8), SCALING, PIXELS, [critic], "wgan-gp", **settings)


def du_gan(**settings) -> Adversarial:
    torch.manual_seed(0)
    critics = [Critic(UnetCritic(width=4, n_stages=2), shown, 0.1) for shown in ("image", "gradient")]
    return Adversarial(ResidualUnet(width=8), SCALING, PIXELS, critics, "lsgan", **settings)


def weights(module: nn.Module) -> bytes:
    return b"".join(value.detach().numpy().tobytes() for value in module.parameters())


def test_the_denoiser_learns_from_every_nth_batch_and_the_critics_from_all():
    learner = Learner(wgan(critic_steps=3))
    told = [learner.step(number) for number in range(6)]
    assert [sorted(one) for one in told] == 2 * [["image critic"], ["image critic"], ["image critic", "loss"]]


def test_while_one_learns_the_other_stays_as_it_is_to_the_bit():
    method = wgan(critic_steps=2)
    learner, critic = Learner(method), method.critics[0].module
    denoiser_before = weights(method.denoiser)
    learner.step(0)
    assert learner.learned == ["image critic"]
    assert weights(method.denoiser) == denoiser_before
    learner.descend = lambda name, loss: Learner.descend(learner, name, loss) if name == "denoiser" else None
    critic_before = weights(critic)
    learner.step(1)
    assert weights(critic) == critic_before
    assert weights(method.denoiser) != denoiser_before


def test_before_the_warm_up_is_over_there_are_no_critics():
    learner = Learner(du_gan(warmup=2))
    learner.step(0)
    assert learner.learned == ["denoiser"]
    images = batch()
    expected = float(((torch.from_numpy(images.noisy - images.target) / 100) ** 2).mean())
    assert Learner(du_gan(warmup=2)).step(0)["loss"] == pytest.approx(expected, rel=1e-4)
    learner.step(2)
    assert learner.learned == ["image critic", "gradient critic", "denoiser"]


class Mean(nn.Module):
    """A critic whose score is the mean of the image times one weight: everything is known in closed form."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, image: Tensor) -> Tensor:
        return self.gain * image.mean(dim=(1, 2, 3))[:, None]


def shifted(n: int = 3) -> Batch:
    """The target is 0 HU, the input 100: one and zero for the networks."""
    target = np.zeros((n, 1, 8, 8), np.float32)
    return Batch(target + 100, target)


class Same(ResidualUnet):
    def forward(self, image: Tensor) -> Tensor:
        return image * (1 + 0 * sum(weight.sum() for weight in self.parameters()))


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_a_wasserstein_critic_by_hand(gain):
    """Fake scores are `gain`, real ones 0; a mean over 64 pixels has a gradient of gain/8."""
    method = Adversarial(
        Same(width=8), SCALING, PIXELS, [Critic(Mean(gain), "image", 0.1)], "wgan-gp", penalty=10
    )
    learner = Learner(method, rate=0.0)
    learner.method.step(shifted(), turn(0, 3), learner.descend)
    critic, denoiser = learner.losses
    assert critic == pytest.approx(gain - 0.0 + 10 * (gain / 8 - 1) ** 2, rel=1e-5)
    assert denoiser == pytest.approx(1.0 - 0.1 * gain, rel=1e-5)


@pytest.mark.parametrize(("low_dose", "expected"), [(False, 4.0), (True, 4.0)])
def test_a_least_squares_critic_by_hand(low_dose, expected):
    """Real scores are 0, wanted 1; fake ones 2, wanted 0. The denoiser gives the low dose here."""
    method = Adversarial(
        Same(width=8), SCALING, PIXELS, [Critic(Mean(2.0), "image", 0.1)], "lsgan", low_dose_is_fake=low_dose
    )
    learner = Learner(method, rate=0.0)
    learner.method.step(shifted(), turn(0, 3), learner.descend)
    critic, denoiser = learner.losses
    assert critic == pytest.approx(1.0 + expected, rel=1e-5)
    assert denoiser == pytest.approx(1.0 + 0.1 * (2.0 - 1.0) ** 2, rel=1e-5)


def test_mixtures_cost_more_while_the_critic_is_not_consistent():
    plain, mixing = (Learner(du_gan(cutmix_weight=w, cutmix_probability=1.0), rate=0.0) for w in (0.0, 5.0))
    for learner in (plain, mixing):
        learner.step(0)
    assert mixing.losses[0] > plain.losses[0]
    never = Learner(du_gan(cutmix_weight=5.0, cutmix_probability=0.0), rate=0.0)
    never.step(0)
    assert never.losses == plain.losses


@pytest.mark.parametrize("make", [wgan, du_gan])
def test_a_critic_learns_to_tell_noisy_images_from_the_targets(make):
    method = make()
    learner, critic = Learner(method, rate=5e-3), method.critics[0]
    learner.descend = lambda name, loss: None if name == "denoiser" else Learner.descend(learner, name, loss)
    for number in range(30):
        learner.step(number)
    images = batch()[:2]
    with torch.no_grad():
        fake, real = (float(critic.opinions(torch.from_numpy(one) / 100)[0].mean()) for one in images)
    assert real > fake + 0.1


def test_the_gradient_critic_is_shown_edges():
    seen = []

    class Watching(Mean):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(image.detach().clone())
            return super().forward(image)

    Critic(Watching(1.0), "gradient", 1.0).opinions(torch.full((1, 1, 8, 8), 3.0))
    assert float(seen[0].abs().max()) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("make", [wgan, du_gan])
def test_an_adversarial_run_resumes_to_the_same_bits(tmp_path, make):
    """Critics, their optimisers, the penalty's mixtures and CutMix's boxes included."""
    schedule = Schedule(
        n_steps=5, batch_size=2, learning_rate=1e-3, warmup=1, ema_decay=0.5, validate_every=10,
        checkpoint_every=1, seed=3, selection="last",
    )  # fmt: skip

    def draw(generator: np.random.Generator):
        target = generator.normal(0, 50, (1, 32, 32)).astype(np.float32)
        return target + generator.normal(0, 30, target.shape).astype(np.float32), target

    class Stopped(Exception):
        pass

    def run(name: str, stop_at: int | None = None):
        def stop(progress) -> None:
            if progress.step == stop_at:
                raise Stopped

        (tmp_path / name).mkdir(exist_ok=True)
        settings = {"cutmix_weight": 1.0, "cutmix_probability": 0.7} if make is du_gan else {}
        fabric = Fabric(accelerator="cpu", devices=1)
        return fit(
            fabric, make(**settings), draw, lambda network: None, schedule, tmp_path / name, architecture={},
            max_seconds=math.inf, on_progress=stop,
        )  # fmt: skip

    whole = run("whole")
    with pytest.raises(Stopped):
        run("stopped", stop_at=3)
    resumed = run("stopped")
    assert weights(resumed.network) == weights(whole.network)


def test_patches_are_judged_as_well():
    """A critic that gives a score for every place is averaged."""
    torch.manual_seed(0)
    critic = Critic(PatchCritic(width=4, n_strided=1), "image", 0.1)
    method = Adversarial(ResidualUnet(width=8), SCALING, PIXELS, [critic], "lsgan")
    before = copy.deepcopy(critic.module)
    told = Learner(method).step(0)
    assert told.keys() == {"image critic", "loss"}
    assert weights(critic.module) != weights(before)
