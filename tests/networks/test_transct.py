import pytest
import torch

from lowdose.networks.transct import TransCt, _Attention, _depth_to_space


def test_attention_is_that_of_pytorch():
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(32, 8, kdim=16, vdim=16, batch_first=True)
    ours = _Attention(32, 16)
    torch.nn.init.normal_(theirs.in_proj_bias)
    biases = theirs.in_proj_bias.chunk(3)
    weights = (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight)
    for layer, weight, bias in zip((ours.query, ours.key, ours.value), weights, biases, strict=True):
        layer.weight.data, layer.bias.data = weight.data, bias.data
    ours.output.load_state_dict(theirs.out_proj.state_dict())
    tokens, memory = torch.randn(2, 5, 32), torch.randn(2, 7, 16)
    expected, _ = theirs(tokens, memory, memory)
    assert torch.allclose(ours(tokens, memory), expected, atol=1e-6)


def test_depth_to_space_in_the_order_of_tensorflow():
    """`tf.nn.depth_to_space`: channel (2 dy + dx) C + c becomes channel c at the pixel (dy, dx)."""
    features = torch.randn(1, 12, 2, 3)
    pixels = _depth_to_space(features)
    for dy, dx, c in ((0, 0, 2), (0, 1, 0), (1, 0, 1), (1, 1, 2)):
        assert torch.equal(pixels[0, c, dy::2, dx::2], features[0, (2 * dy + dx) * 3 + c])


@pytest.mark.parametrize(("y", "x"), [(16, 16), (48, 80)])
def test_positions_are_the_tokens(y, x):
    """A token for each patch of 16 x 16 pixels; the memory has one for each 32 x 32, rounded up."""
    network, seen = TransCt().eval(), []
    network.decoder[0].register_forward_hook(lambda layer, given, result: seen.append(given))
    assert network(torch.randn(1, 1, y, x)).shape == (1, 1, y, x)
    ((tokens, memory),) = seen
    assert tokens.shape == (1, y // 16 * (x // 16), 256)
    assert memory.shape == (1, -(-y // 32) * -(-x // 32), 256)


def test_the_high_band_of_a_constant_is_empty():
    network, seen = TransCt().eval(), []
    network.high_tokens.register_forward_hook(lambda layer, given, result: seen.append(given))
    network(torch.full((1, 1, 32, 32), 3.0))
    ((high,),) = seen
    assert high.abs().max() < 1e-5


def test_channels_as_tokens_work_at_one_matrix():
    network = TransCt(tokens="channels", matrix=128).eval()
    assert network.multiple == 128
    assert network(torch.zeros(1, 1, 128, 128)).shape == (1, 1, 128, 128)
    with pytest.raises(ValueError, match="channels as tokens need 128 x 128 pixels, not 64 x 256"):
        network(torch.zeros(1, 1, 64, 256))


def test_tokens_of_another_kind():
    with pytest.raises(ValueError, match="'patches'; it must be 'positions' or 'channels'"):
        TransCt(tokens="patches")
