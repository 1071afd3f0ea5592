import pytest

torch = pytest.importorskip("torch")

from lowdose.invariances.representation import (  # noqa: E402
    PUBLISHED,
    SMALL,
    ActNorm,
    Critic,
    Representation,
    RepresentationSizes,
)

TINY = RepresentationSizes(side=16, first=4, latents=32, encoder_width=4, decoder_width=4, critic_width=4)


def n_weights(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_the_published_sizes_have_the_layers_of_the_table():
    with torch.device("meta"):
        made, critic = Representation(PUBLISHED), Critic(PUBLISHED)
    # ResNet-50 without its classifier, with two channels in; then 2048 to twice 256.
    assert n_weights(made.encoder) == 23_508_032 - 64 * 49 + 2048 * 512 + 512
    blocks = [(block.first.weight.shape[1] - 1, block.first.weight.shape[0]) for block in made.decoder.blocks]
    assert blocks == [(1536, 1536), (1536, 768), (768, 384), (384, 192), (192, 96)]
    assert made.decoder.n_first == 156
    assert made.decoder.attention.given.weight.shape[0] == 192
    assert [layer.weight.shape[:2] for layer in critic.layers if isinstance(layer, torch.nn.Conv2d)] == [
        (64, 2), (128, 64), (256, 128), (512, 256), (512, 512), (512, 512), (1, 512),
    ]  # fmt: skip


def test_the_small_profile_takes_less_than_five_megabytes():
    assert 4 * n_weights(Representation(SMALL)) < 5e6


@pytest.mark.parametrize("sizes", [TINY, SMALL], ids=["tiny", "small"])
def test_images_come_back_in_their_size_and_begin_close_to_the_denoised_ones(sizes):
    torch.manual_seed(0)
    made = Representation(sizes)
    image, denoised = torch.randn(2, 2, 1, sizes.side, sizes.side)
    mean, log_variance = made.encode(image, denoised)
    assert mean.shape == log_variance.shape == (2, sizes.latents)
    assert (made.decode(mean, denoised) - denoised).std() < 0.1
    assert Critic(sizes)(image, denoised).shape == (2, 1)


def test_what_is_not_residual_and_normalised_by_batches_also_works_with_classes_and_attention():
    sizes = RepresentationSizes(
        side=16, first=4, latents=12, spatial=False, code=2, encoder_width=12, bottleneck=True,
        encoder_layers=(1, 1, 1, 1), decoder_width=8, class_hidden=(8,), classes=5, embedding=3,
        attention=True, critic_width=4, as_published=True, noise=False, residual=False,
    )  # fmt: skip
    made = Representation(sizes)
    image, denoised = torch.randn(2, 4, 1, 16, 16)
    made(image, denoised).square().mean().backward()
    assert all(weight.grad is not None for name, weight in made.named_parameters() if "share" not in name)


def test_at_rest_an_image_does_not_depend_on_its_batch_nor_on_how_often_it_is_asked():
    torch.manual_seed(1)
    made = Representation(TINY)
    for weight in made.decoder.last.parameters():
        torch.nn.init.normal_(weight)
    made(torch.randn(8, 1, 16, 16), torch.randn(8, 1, 16, 16))
    made.eval()
    image, denoised = torch.randn(2, 4, 1, 16, 16)
    with torch.no_grad():
        together = made(image, denoised)
        alone = torch.cat([made(image[k : k + 1], denoised[k : k + 1]) for k in range(4)])
        again = made(image, denoised)
    assert torch.allclose(together, alone, rtol=1e-3, atol=1e-3)
    assert torch.equal(together, again)


def test_white_noise_is_that_of_its_generator():
    torch.manual_seed(1)
    made = Representation(TINY)
    for weight in (*made.decoder.last.parameters(), *(block.noise for block in made.decoder.blocks)):
        torch.nn.init.normal_(weight)
    made(torch.randn(8, 1, 16, 16), torch.randn(8, 1, 16, 16))
    made.eval()
    latents, denoised = torch.randn(1, 32), torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        one, same, other = (
            made.decode(latents, denoised, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
        )
        none = made.decode(latents, denoised)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(none, made.decode(latents, denoised).detach())


def test_the_first_batch_is_normalised_and_no_other():
    norm = ActNorm(3)
    first = 5 + 3 * torch.randn(64, 3, 4, 4)
    assert norm(first).std(dim=(0, 2, 3)).detach() == pytest.approx([1, 1, 1], abs=1e-4)
    assert norm(10 * first).std().item() > 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"side": 60}, "60 pixels"),
        ({"encoder_layers": (1, 1, 1, 1), "encoder_width": 8}, "too narrow"),
        ({"latents": 32}, "multiple of 64"),
        ({"latents": 24, "spatial": False, "code": 8}, "leave none"),
    ],
)
def test_sizes_that_cannot_be_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        RepresentationSizes(**change)
