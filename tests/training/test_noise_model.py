"""A noise model comes back as it was written, or says in one sentence why not."""

import json

import numpy as np
import pytest
import torch

from lowdose.networks.noise_gan import NoiseGan
from lowdose.networks.noise_vae import NoiseVae
from lowdose.training.carded_weights import WEIGHTS
from lowdose.training.noise_model import (
    NOISE_CARD,
    NoiseModel,
    NoiseModelError,
    NoiseOrigin,
    load_noise_model,
    read_noise_card,
    write_noise_model,
)

SIZES = {"latents": 2, "kernel": 5}
SOURCE = NoiseOrigin(
    name="scan", kernel="B30f", pixel_mm=(0.7, 0.7), patches=200, left_out={"uneven": 3}, level_hu=30.0
)


def network(kind):
    torch.manual_seed(0)
    made = NoiseVae(**SIZES) if kind == "vae" else NoiseGan(**SIZES)
    return made.requires_grad_(False)


def written(folder, kind="vae"):
    other = SOURCE.model_copy(update={"name": "other", "level_hu": 20.0})
    return write_noise_model(
        network(kind), kind, SIZES, folder, sources=(SOURCE, other), training="none", scale=1.1
    )


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_what_was_written_makes_the_same_noise_again(tmp_path, kind):
    card = written(tmp_path / "model", kind)
    assert read_noise_card(tmp_path / "model") == card
    loaded = load_noise_model(tmp_path / "model")
    assert loaded.levels == (30.0, 20.0)
    expected = NoiseModel(network(kind), loaded.levels, 1.1).unit(2, 40, 51, np.random.default_rng(1))
    assert np.array_equal(loaded.unit(2, 40, 51, np.random.default_rng(1)), expected)


def test_noise_has_the_level_of_every_pixel_and_slices_of_their_own():
    model = NoiseModel(network("vae"), (30.0,))
    levels = np.full((200, 40, 40), 10.0, np.float32)
    levels[..., 20:] = 25.0
    noise = model(levels, levels, np.random.default_rng(1))
    assert noise.dtype == np.float32
    assert noise[..., :20].std() == pytest.approx(10.0, rel=0.02)
    assert noise[..., 20:].std() == pytest.approx(25.0, rel=0.02)
    between = (noise[1:] * noise[:-1]).mean() / (noise**2).mean()
    assert abs(between) < 0.02
    assert model.level(np.random.default_rng(2)) == 30.0


def test_large_noise_does_not_repeat():
    noise = NoiseModel(network("vae"), (30.0,)).unit(1, 256, 256, np.random.default_rng(1))[0]
    power = np.abs(np.fft.fft2(noise)) ** 2
    correlation = np.fft.ifft2(power).real
    correlation /= correlation[0, 0]
    far = np.hypot(*np.meshgrid(*[np.minimum(np.arange(256), 256 - np.arange(256))] * 2)) > 12
    assert np.abs(correlation[far]).max() < 5.5 / 256  # chance: one standard deviation is 1 / 256 or so


def _break(path):
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")


def _unknown_key(path):
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "pink"}))


@pytest.mark.parametrize(
    ("file", "change", "complaint"),
    [
        (NOISE_CARD, lambda path: path.unlink(), "is no noise model"),
        (NOISE_CARD, lambda path: path.write_text("{"), "cannot be read"),
        (NOISE_CARD, _unknown_key, "cannot be read"),
        (WEIGHTS, _break, "does not match the SHA-256"),
        (WEIGHTS, lambda path: path.unlink(), "cannot be read"),
    ],
)
def test_a_damaged_model_is_refused_in_one_sentence(tmp_path, file, change, complaint):
    written(tmp_path)
    change(tmp_path / file)
    with pytest.raises(NoiseModelError, match=complaint) as refusal:
        load_noise_model(tmp_path)
    assert "\n" not in str(refusal.value)
