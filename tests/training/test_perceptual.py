from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from lowdose.models.card import HuScaling
from lowdose.networks.features import CtEncoder, Vgg19Features
from lowdose.provenance import sha256_of_file
from lowdose.training.perceptual import (
    CT_ENCODER,
    ENCODER_CARD,
    ENCODER_WEIGHTS,
    FOLDER,
    EncoderCard,
    feature_distance_of,
    load_ct_encoder,
)
from lowdose.training.plan import PlanError

SCALING = HuScaling(0.0, 500.0)


def images(n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.randn(n, 1, 96, 96, generator=generator), 9, 1)[
        ..., :64, :64
    ]
    return smooth, 0.1 * torch.randn(n, 1, 64, 64, generator=generator)


def test_the_encoder_that_comes_along_is_what_its_card_says():
    encoder, card = load_ct_encoder()
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 5e6
    assert len(card.stage_weights) == len(encoder.stages)
    assert {item.use for item in card.data} == {"training", "validation"}
    assert all(item.licence and item.citation for item in card.data)


def test_equal_images_have_no_distance_and_more_noise_is_farther():
    distance = feature_distance_of(CT_ENCODER, SCALING)
    image, noise = images()
    assert float(distance(image, image)) == 0.0
    far = [float(distance(image + share * noise, image)) for share in (0.25, 0.5, 1.0, 2.0)]
    assert far == sorted(far)
    assert far[0] > 0


def test_it_tells_blur_from_noise_of_the_same_squared_error():
    """What a perceptual loss is for: an image that has lost its texture is no nearer than a noisy one."""
    distance = feature_distance_of(CT_ENCODER, SCALING)
    image, noise = images(4)
    textured = image + noise
    by_blur = image
    other = 0.1 * torch.randn(noise.shape, generator=torch.Generator().manual_seed(1))
    by_texture = image + other * (noise.std() / other.std()) / 2**0.5 + noise * (1 - 0.5**0.5)
    squared = [float((one - textured).square().mean()) for one in (by_blur, by_texture)]
    assert squared[1] == pytest.approx(squared[0], rel=0.1)
    assert float(distance(by_texture, textured)) < float(distance(by_blur, textured))


def test_the_scaling_of_the_images_does_not_matter():
    image, noise = images()
    expected = float(feature_distance_of(CT_ENCODER, SCALING)(image + noise, image))
    other = HuScaling(-100.0, 250.0)
    ours, theirs = ((one * 500.0 + 100.0) / 250.0 for one in (image + noise, image))
    assert float(feature_distance_of(CT_ENCODER, other)(ours, theirs)) == pytest.approx(expected, rel=1e-4)


def test_volumes_are_compared_slice_by_slice():
    distance = feature_distance_of(CT_ENCODER, SCALING)
    image, noise = images(6)
    flat = float(distance(image + noise, image))
    volume, target = ((one.reshape(2, 1, 3, 64, 64)) for one in (image + noise, image))
    assert float(distance(volume, target)) == pytest.approx(flat, rel=1e-5)


def test_the_encoder_teaches_and_does_not_learn():
    distance = feature_distance_of(CT_ENCODER, SCALING)
    image, noise = images()
    output = (image + noise).requires_grad_()
    distance(output, image).backward()
    assert float(output.grad.abs().sum()) > 0
    assert not any(weight.requires_grad for weight in distance._encoder.parameters())


def test_weights_that_are_not_those_of_the_card_are_refused(tmp_path):
    encoder = CtEncoder(width=2, n_stages=2)
    save_file(encoder.state_dict(), tmp_path / ENCODER_WEIGHTS)
    card = EncoderCard(
        summary="a test", sizes={"width": 2, "n_stages": 2}, offset_hu=0, scale_hu=500, stage_weights=(1, 1),
        training="none", data=(), known_limits=(), weights_sha256=sha256_of_file(tmp_path / ENCODER_WEIGHTS),
    )  # fmt: skip
    (tmp_path / ENCODER_CARD).write_text(card.model_dump_json())
    loaded, _ = load_ct_encoder(tmp_path)
    assert torch.equal(loaded.stages[0][0][0].weight, encoder.stages[0][0][0].weight)
    save_file(CtEncoder(width=2, n_stages=2).state_dict(), tmp_path / ENCODER_WEIGHTS)
    with pytest.raises(PlanError, match="weights do not match the SHA-256 on its card"):
        load_ct_encoder(tmp_path)


def test_vgg19_is_shown_all_of_a_12_bit_image(tmp_path):
    torch.manual_seed(0)
    save_file(Vgg19Features(window=(0, 1)).state_dict(), tmp_path / "vgg19.safetensors")
    distance = feature_distance_of(str(tmp_path / "vgg19.safetensors"), SCALING)
    image, noise = images()
    assert float(distance(image + noise, image)) > 0
    # Beyond the window there is nothing to see.
    bright, brighter = image.new_full((1, 1, 32, 32), 3100 / 500), image.new_full((1, 1, 32, 32), 4000 / 500)
    assert float(distance(bright, brighter)) == 0.0


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(
        PlanError, match=r"perceptual\.features: .*nothing\.pth: is not there; .* or name ct-encoder"
    ):
        feature_distance_of(str(tmp_path / "nothing.pth"), SCALING)
