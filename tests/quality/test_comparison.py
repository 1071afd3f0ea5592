from dataclasses import replace

import numpy as np
import pytest

from lowdose.provenance import Step
from lowdose.quality.comparison import DIFFERENCE_EDGES, align, compare, evaluate, slice_positions
from lowdose.quality.fidelity import Protocol, psnr, rmse, ssim
from lowdose.scan import Scan, Slice

WINDOW = (-160.0, 240.0)


def scan(hu: np.ndarray, name: str = "scan", padding: np.ndarray | None = None) -> Scan:
    made = Scan.from_array(hu, spacing=(2.5, 0.7, 0.7), padding=padding, name=name)
    made.affine[:3, 3] = (-20.0, -30.0, 100.0)
    return made


def tissue(n_slices: int = 3, seed: int = 0, level: float = 10.0, size: int = 80) -> np.ndarray:
    """A disc of soft tissue in air, with noise."""
    y, x = np.mgrid[:size, :size] - size // 2
    disc = np.where(np.hypot(y, x) < 0.45 * size, 50.0, -1000.0)
    return disc + np.random.default_rng(seed).normal(0, level, (n_slices, size, size))


def turned(source: Scan, axis: int) -> Scan:
    """The same points of the patient, stored the other way round along one axis."""
    hu = np.flip(source.hu, axis)
    affine = source.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (source.shape[axis] - 1)
    affine[:3, axis] *= -1
    flipped = Scan.from_array(hu, name=source.name)
    return replace(flipped, affine=affine)


def test_pixels_are_pooled_and_slices_averaged():
    reference = tissue()
    comparison = reference + np.array([1.0, 2.0, 20.0])[:, None, None]
    result = compare(scan(reference), scan(comparison, "other"), Protocol(WINDOW))
    reference, comparison = reference.astype(np.float32), comparison.astype(np.float32)
    assert (result.arm, result.n_slices, result.n_pixels) == ("other", 3, reference.size)
    assert result.rmse == pytest.approx(rmse(reference, comparison, WINDOW), rel=1e-9)
    assert result.psnr == pytest.approx(psnr(reference, comparison, WINDOW), rel=1e-9)
    slices = [ssim(first, second, WINDOW) for first, second in zip(reference, comparison, strict=True)]
    assert result.ssim == pytest.approx(np.mean(slices), rel=1e-9)
    # Slices differ a little in how much soft tissue they show, and each pixel has the same say.
    assert result.soft_tissue_bias == pytest.approx(23 / 3, abs=0.1)
    assert result.slices.soft_tissue_bias == pytest.approx([1, 2, 20], abs=0.01)
    assert result.tissue_bias["soft tissue"] == pytest.approx(23 / 3, abs=0.1)
    assert np.isnan(result.tissue_bias["dense bone"])
    assert result.error_left is None


def test_a_scan_against_itself():
    reference = scan(tissue())
    result = compare(reference, reference)
    assert (result.rmse, result.ssim, result.bias, result.soft_tissue_bias) == (0, 1, 0, 0)
    assert result.psnr == np.inf
    assert result.noise == result.reference_noise
    middle = int(np.searchsorted(DIFFERENCE_EDGES, 0.0)) - 1
    assert result.difference[middle] == result.difference.sum() > 0


def test_noise_before_and_after():
    reference = tissue(4, level=10.0, size=128)
    low = reference + np.random.default_rng(9).normal(0, 30, reference.shape)
    result = compare(scan(reference), scan(low))
    assert result.reference_noise == pytest.approx(10.0, rel=0.05)
    assert result.noise == pytest.approx(np.sqrt(1000), rel=0.05)


def test_error_left_is_relative_to_the_input():
    reference = tissue(level=0.0)
    disc = reference > 0
    arms = {"low": scan(reference + 8.0 * disc), "better": scan(reference + 2.0 * disc)}
    low, better = evaluate(scan(reference), arms, input_arm="low")
    assert (low.error_left, better.error_left) == (1.0, 0.25)
    assert all(result.error_left is None for result in evaluate(scan(reference), arms))
    with pytest.raises(ValueError, match="the input arm 'none' is not among the arms: low, better"):
        evaluate(scan(reference), arms, input_arm="none")


def test_padding_of_any_arm_counts_in_none():
    reference = tissue(2)
    padding = np.zeros(reference.shape, bool)
    padding[:, :, 60:] = True
    spoiled = np.where(padding, -2000.0, reference + 3.0)
    arms = {"whole": scan(reference + 3.0), "padded": scan(spoiled, padding=padding)}
    whole, padded = evaluate(scan(reference), arms)
    assert whole.n_pixels == padded.n_pixels == np.count_nonzero(~padding)
    assert whole.rmse == padded.rmse
    assert padded.soft_tissue_bias == pytest.approx(3.0, abs=0.01)


def test_the_body_rule_counts_fewer_pixels():
    reference = scan(tissue())
    inside = compare(reference, reference, Protocol(WINDOW, mask="body"))
    area = np.pi * (0.45 * 80) ** 2 * 3
    assert inside.n_pixels == pytest.approx(area, rel=0.1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_paired_by_their_place_in_the_patient(axis: int):
    reference = tissue()
    comparison = (
        reference + np.arange(3)[:, None, None] + np.linspace(0, 5, 80)[:, None] + np.linspace(0, 3, 80)
    )
    straight = compare(scan(reference), scan(comparison))
    stored_otherwise = turned(scan(comparison), axis)
    assert not np.array_equal(stored_otherwise.hu, scan(comparison).hu)
    result = compare(scan(reference), stored_otherwise)
    assert result.rmse == straight.rmse
    assert np.array_equal(result.slices.rmse, straight.slices.rmse)
    aligned = align(scan(reference), stored_otherwise, "other")
    assert np.array_equal(aligned.hu, scan(comparison).hu)
    assert np.allclose(aligned.affine, scan(reference).affine)


def test_other_geometries_are_refused_in_a_sentence():
    reference = scan(tissue())
    with pytest.raises(
        ValueError, match=r"short: the comparison has 2 slices of 80 x 80, the reference 3 slices"
    ):
        evaluate(reference, {"short": scan(tissue(2))})
    moved = scan(tissue())
    moved.affine[2, 3] += 2.5
    with pytest.raises(ValueError, match=r"moved: its pixels lie up to 2\.5 mm from"):
        evaluate(reference, {"moved": moved})
    stretched = scan(tissue())
    stretched.affine[0, 2] *= 1.01
    with pytest.raises(ValueError, match="same geometry"):
        compare(reference, stretched)
    transposed = scan(tissue())
    transposed.affine[:3, [1, 2]] = transposed.affine[:3, [2, 1]]
    with pytest.raises(ValueError, match="same geometry"):
        compare(reference, transposed)


def test_rounded_positions_are_the_same_geometry():
    nearly = scan(tissue())
    nearly.affine[:3, 3] += 0.01
    assert compare(scan(tissue()), nearly).rmse == 0.0


def test_values_that_are_not_numbers_are_refused_unless_padded():
    hu = tissue()
    hu[1, 40, 40] = np.nan
    with pytest.raises(ValueError, match="other: slice 2 of 3 holds values that are not numbers"):
        compare(scan(tissue()), scan(hu, "other"))
    with pytest.raises(ValueError, match="the reference: slice 2 of 3"):
        compare(scan(hu), scan(tissue()))
    assert compare(scan(tissue()), scan(hu, padding=np.isnan(hu))).rmse == 0.0


def test_nothing_measured_is_refused():
    hu = tissue()
    with pytest.raises(ValueError, match="no pixel was measured"):
        compare(scan(hu), scan(hu, padding=np.ones(hu.shape, bool)))
    with pytest.raises(ValueError, match="at least one arm"):
        evaluate(scan(hu), {})


def test_each_slice_of_each_scan_is_read_once_and_in_order():
    hu = tissue(4).astype(np.float32)
    read: dict[str, list[int]] = {"reference": [], "a": [], "b": []}
    done: list[int] = []

    def watched(name: str) -> Scan:
        def slice_at(z: int) -> Slice:
            read[name].append(z)
            return Slice(hu[z], np.zeros(hu[z].shape, bool))

        return scan(hu).with_slices(slice_at, Step(name))

    evaluate(watched("reference"), {"a": watched("a"), "b": watched("b")}, on_slice=done.append)
    assert read == {"reference": [0, 1, 2, 3], "a": [0, 1, 2, 3], "b": [0, 1, 2, 3]}
    assert done == [1, 2, 3, 4]


def test_slice_positions_run_along_the_normal():
    assert slice_positions(scan(tissue())) == pytest.approx([100.0, 102.5, 105.0])
