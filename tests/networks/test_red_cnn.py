import torch

from lowdose.networks.red_cnn import RedCnn


def with_ones_in_the_middle(network: RedCnn) -> RedCnn:
    """Every layer gives on its first channel as it is."""
    for name, weight in network.named_parameters():
        torch.nn.init.zeros_(weight)
        if name.endswith("weight"):
            weight.data[0, 0, 2, 2] = 1.0
    return network


def test_skips_by_hand():
    """Each layer takes two pixels off every side. With r the positive part of the image, the innermost region
    gets r from the bottom and from both inner skips; outside it, what the layers cut off is missing.
    """
    image = torch.randn(1, 1, 32, 35)
    denoised = with_ones_in_the_middle(RedCnn(width=2))(image)
    times = torch.zeros(32, 35)
    times[4:-4, 4:-4] = 1  # after two layers
    times[8:-8, 8:-8] = 2  # after four
    times[10:-10, 10:-10] = 3  # after all five
    assert torch.allclose(denoised[0, 0], image[0, 0] + times * torch.relu(image[0, 0]))


def test_a_final_relu_comes_after_the_input_is_added():
    image = torch.randn(1, 1, 32, 32)
    open_end, closed = RedCnn(width=4), RedCnn(width=4, final_relu=True)
    closed.load_state_dict(open_end.state_dict())
    assert open_end(image).min() < 0
    assert torch.equal(closed(image), torch.relu(open_end(image)))


def test_the_smallest_image():
    assert RedCnn(width=2)(torch.zeros(1, 1, 21, 21)).shape == (1, 1, 21, 21)
