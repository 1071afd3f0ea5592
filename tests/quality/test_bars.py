import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.quality.bars import BarTransfer, bar_transfer, resolved
from lowdose.quality.uniformity import OutsideError

FINE = 8


def bars(width, n_bars, *, blur, spacing=0.4, angle=25.0, contrast=800.0, length=8.0, size=60.0):
    """A group of bars in a tilted background, blurred by a Gaussian of `blur` mm, off the pixel grid."""
    n = int(size / spacing)
    centre = size / 2 + 0.13, size / 2 - 0.21
    places = (np.arange(n * FINE) + 0.5) / FINE * spacing - spacing / 2
    y, x = places[:, None] - centre[0], places[None, :] - centre[1]
    turn = np.deg2rad(angle)
    along, across = x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)
    k = across / width + (2 * n_bars - 1) / 2
    on = (np.abs(along) < length / 2) & (k > 0) & (k < 2 * n_bars - 1) & (np.floor(k) % 2 == 0)
    fine = gaussian_filter(contrast * on, blur / spacing * FINE)
    image = fine.reshape(n, FINE, n, FINE).mean(axis=(1, 3)) + 30.0 + 0.2 * x[:, FINE // 2 :: FINE]
    return image, centre


def measured(image, centre, width, n_bars, *, spacing=0.4, angle=25.0, length=8.0, empty=(46.0, 46.0)):
    return bar_transfer(
        image, (spacing, spacing), centre, angle, width=width, n_bars=n_bars, length=length, empty=empty
    )


@pytest.mark.parametrize(("width", "n_bars"), [(2.5, 2), (1.25, 4), (1.0, 5), (0.714, 6)])
@pytest.mark.parametrize("blur", [0.3, 0.6])
def test_the_transfer_of_a_gaussian_is_found_however_few_bars(width, n_bars, blur):
    image, centre = bars(width, n_bars, blur=blur)
    found = measured(image, centre, width, n_bars)
    frequency = 0.5 / width
    pixel = np.sinc(0.4 * frequency * np.cos(np.deg2rad(25))) * np.sinc(
        0.4 * frequency * np.sin(np.deg2rad(25))
    )
    expected = np.exp(-2 * (np.pi * blur * frequency) ** 2) * pixel
    assert found.frequency == pytest.approx(frequency)
    assert found.transfer == pytest.approx(expected, abs=0.015)
    assert found.contrast == pytest.approx(800.0, rel=0.02)


def test_noise_alone_is_not_resolved():
    generator = np.random.default_rng(0)
    image, centre = bars(0.5, 5, blur=1.5)
    found = [measured(image + 40 * generator.standard_normal(image.shape), centre, 0.5, 5) for _ in range(30)]
    assert np.mean([one.transfer for one in found]) < 0.12
    assert np.count_nonzero([one.transfer > 3 * one.noise for one in found]) <= 1


def test_resolved_is_the_finest_group_with_all_coarser_ones():
    groups = [BarTransfer(f, t, 0.01, 500.0) for f, t in ((0.1, 0.9), (0.2, 0.5), (0.3, 0.02), (0.4, 0.3))]
    assert resolved(groups[::-1]) == 0.2
    assert np.isnan(resolved(groups[2:]))
    assert np.isnan(resolved([]))


def test_bars_outside_the_image_are_refused():
    image, _ = bars(1.0, 3, blur=0.4)
    with pytest.raises(OutsideError, match="not wholly in the image"):
        measured(image, (2.0, 20.0), 1.0, 3)
