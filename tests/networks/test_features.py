import pytest
import torch
from safetensors.torch import save_file

from lowdose.networks.features import (
    VGG19_SOURCE,
    CtAutoencoder,
    CtEncoder,
    Vgg19Features,
    WeightsError,
    load_vgg19,
    vgg19_layers,
    with_blocks_masked,
)

WINDOW = (-1.0, 3.0)

VGG19_WEIGHTS = {
    "features.0.weight": (64, 3, 3, 3),
    "features.2.weight": (64, 64, 3, 3),
    "features.5.weight": (128, 64, 3, 3),
    "features.7.weight": (128, 128, 3, 3),
    "features.10.weight": (256, 128, 3, 3),
    "features.12.weight": (256, 256, 3, 3),
    "features.14.weight": (256, 256, 3, 3),
    "features.16.weight": (256, 256, 3, 3),
    "features.19.weight": (512, 256, 3, 3),
    "features.21.weight": (512, 512, 3, 3),
    "features.23.weight": (512, 512, 3, 3),
    "features.25.weight": (512, 512, 3, 3),
    "features.28.weight": (512, 512, 3, 3),
    "features.30.weight": (512, 512, 3, 3),
    "features.32.weight": (512, 512, 3, 3),
    "features.34.weight": (512, 512, 3, 3),
}


def test_the_weights_of_vgg19_have_the_names_and_shapes_of_torchvision():
    with torch.device("meta"):
        state = Vgg19Features(window=WINDOW).state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    biases = {name.replace("weight", "bias"): shape[:1] for name, shape in VGG19_WEIGHTS.items()}
    assert shapes == VGG19_WEIGHTS | biases


def test_the_first_convolution_of_every_stage_of_vgg19():
    places = vgg19_layers()
    assert [places[f"conv{stage}_1"] for stage in range(1, 6)] == [0, 5, 10, 19, 28]
    assert (places["conv5_4"], len(places)) == (34, 16)


def test_vgg19_gives_the_layers_asked_for_in_their_order_and_builds_no_more():
    vgg = Vgg19Features(window=WINDOW, layers=("conv2_2", "conv1_2"))
    second, first = vgg(torch.randn(2, 1, 16, 24))
    assert second.shape == (2, 128, 8, 12)
    assert first.shape == (2, 64, 16, 24)
    assert len(vgg.features) == 8


def test_vgg19_sees_the_window_as_three_channels_normalised_for_imagenet():
    """The first kernel is made to pass one channel on: the ends of the window are (0 - mean) / deviation and
    (1 - mean) / deviation, and what lies outside looks like the ends.
    """
    vgg = Vgg19Features(window=(-1.0, 3.0), layers=("conv1_1",))
    torch.nn.init.zeros_(vgg.features[0].weight)
    torch.nn.init.zeros_(vgg.features[0].bias)
    for channel in range(3):
        vgg.features[0].weight[channel, channel, 1, 1] = 1.0
    seen = vgg(torch.tensor([[[[-1.0, 3.0, 1.0, 9.0]]]]))[0][0, :3, 0]
    assert seen[0].tolist() == pytest.approx([-0.485 / 0.229, 0.515 / 0.229, 0.015 / 0.229, 0.515 / 0.229])
    assert seen[1].tolist() == pytest.approx([-0.456 / 0.224, 0.544 / 0.224, 0.044 / 0.224, 0.544 / 0.224])
    assert seen[2].tolist() == pytest.approx([-0.406 / 0.225, 0.594 / 0.225, 0.094 / 0.225, 0.594 / 0.225])


def test_vgg19_teaches_the_image_and_learns_nothing():
    vgg, image = Vgg19Features(window=WINDOW, layers=("conv1_2",)), torch.rand(1, 1, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(vgg(image)[0].square().sum(), image)
    assert bool((slope != 0).any())
    assert not any(value.requires_grad for value in vgg.parameters())


def test_unknown_layers_are_refused():
    with pytest.raises(ValueError, match="conv6_1"):
        Vgg19Features(window=WINDOW, layers=("conv6_1",))


def _weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {name: VGG19_WEIGHTS[name] for name in ("features.0.weight", "features.2.weight")}
    shapes |= {name.replace("weight", "bias"): shape[:1] for name, shape in shapes.items()}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", ["vgg19.safetensors", "vgg19.pth"])
def test_weights_are_read_from_a_file_and_others_in_it_ignored(name, tmp_path):
    weights = _weights() | {"classifier.0.weight": torch.zeros(2, 2)}
    path = tmp_path / name
    save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
    vgg = load_vgg19(path, window=WINDOW, layers=("conv1_2",))
    assert torch.equal(vgg.features[2].weight, weights["features.2.weight"])
    assert torch.equal(vgg.features[0].bias, weights["features.0.bias"])


@pytest.mark.parametrize("name", ["vgg19.safetensors", "vgg19.pth"])
def test_a_file_that_is_not_there(name, tmp_path):
    with pytest.raises(WeightsError, match="is not there"):
        load_vgg19(tmp_path / name, window=WINDOW)


@pytest.mark.parametrize("name", ["vgg19.safetensors", "vgg19.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02}q\x00."[:3]])
def test_a_file_of_something_else(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_vgg19(path, window=WINDOW)
    assert str(caught.value).startswith(f"{path}: cannot be read as weights; ")
    assert VGG19_SOURCE in str(caught.value)


def test_a_file_that_would_run_code_is_not_run(tmp_path):
    path = tmp_path / "vgg19.pth"
    torch.save({"features.0.weight": pytest.approx}, path)  # any function stands for code
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_vgg19(path, window=WINDOW)


def test_a_file_without_some_of_the_weights_or_with_others(tmp_path):
    path = tmp_path / "vgg19.pth"
    torch.save(_weights(), path)
    with pytest.raises(WeightsError, match=r"holds no 'features\.5\.weight'"):
        load_vgg19(path, window=WINDOW, layers=("conv2_1",))
    torch.save(_weights() | {"features.0.bias": torch.zeros(32)}, path)
    with pytest.raises(WeightsError, match=r"holds a 'features\.0\.bias' of 32 values"):
        load_vgg19(path, window=WINDOW, layers=("conv1_2",))
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="something else"):
        load_vgg19(path, window=WINDOW)


def test_the_stages_of_our_own_encoder():
    features = CtEncoder(width=2, n_stages=3)(torch.randn(2, 1, 16, 24))
    assert [tuple(stage.shape) for stage in features] == [(2, 2, 16, 24), (2, 4, 8, 12), (2, 8, 4, 6)]


def test_weights_of_our_own_encoder_counted_by_hand():
    pairs = [(1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    by_hand = sum(9 * n_in * n_out + n_out for n_in, n_out in pairs)
    assert sum(value.numel() for value in CtEncoder().parameters()) == by_hand


def test_the_autoencoder_keeps_the_size_and_sees_the_coarsest_stage_alone():
    network = CtAutoencoder(width=2, n_stages=3)
    image = torch.randn(1, 1, 16, 24)
    assert network(image).shape == image.shape
    assert torch.equal(network(image), network.decoder(network.encoder(image)[2]))


def test_the_encoder_of_a_trained_autoencoder_can_be_taken_out():
    network, alone = CtAutoencoder(width=2, n_stages=2), CtEncoder(width=2, n_stages=2)
    alone.load_state_dict(network.encoder.state_dict())
    image = torch.randn(1, 1, 8, 8)
    assert torch.equal(alone(image)[1], network.encoder(image)[1])


def test_masked_blocks_are_whole_blocks_of_the_mean():
    image = torch.randn(3, 1, 20, 30)
    masked, mask = with_blocks_masked(image, torch.Generator().manual_seed(0), block=8, share=0.5)
    mean = image.mean(dim=(1, 2, 3), keepdim=True).expand_as(image)
    hidden = mask == 1
    assert torch.allclose(masked[hidden], mean[hidden])
    assert torch.equal(masked[~hidden], image[~hidden])
    cells = mask[..., :16, :24].unfold(2, 8, 8).unfold(3, 8, 8).flatten(-2)
    assert torch.equal(cells.amin(dim=-1), cells.amax(dim=-1))


def test_the_share_that_is_masked():
    """Of 100 000 cells a quarter is hidden, give or take 0.14 %."""
    image = torch.zeros(10, 1, 200, 200)
    _, mask = with_blocks_masked(image, torch.Generator().manual_seed(0), block=2, share=0.25)
    assert float(mask.mean()) == pytest.approx(0.25, abs=0.007)
