import pytest

torch = pytest.importorskip("torch")

from lowdose.invariances.null_space import (  # noqa: E402
    Rank,
    answered_directions,
    found_in_null_space,
    share_ignored,
)
from tests.invariances.modules import Forgetful, as_method, as_network  # noqa: E402
from tests.invariances.places import largest_unanswered, place_of  # noqa: E402


def test_the_null_space_of_a_linear_method_is_found_exactly():
    """A method that takes out one pattern and passes everything else on, and one of low rank."""
    torch.manual_seed(0)
    pattern = torch.randn(64, dtype=torch.float64)
    pattern /= pattern.norm()

    def without(image):
        flat = image.reshape(-1)
        return (flat - pattern * (pattern @ flat)).reshape(image.shape)

    values, directions = answered_directions(without, torch.zeros(8, 8, dtype=torch.float64), 63)
    assert values == pytest.approx(torch.ones(63, dtype=torch.float64), abs=1e-8)
    other = torch.randn(64, dtype=torch.float64)
    other -= pattern * (pattern @ other)
    shares = share_ignored(torch.stack([pattern, other]), directions)
    assert shares.tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


def test_singular_values_are_those_of_the_whole_matrix():
    torch.manual_seed(1)
    left, right = (
        torch.linalg.qr(torch.randn(36, 36, dtype=torch.float64))[0],
        torch.linalg.qr(torch.randn(36, 36, dtype=torch.float64))[0],
    )
    spectrum = torch.logspace(0, -3, 36, dtype=torch.float64)
    matrix = left @ torch.diag(spectrum) @ right
    values, directions = answered_directions(
        lambda image: (matrix @ image.reshape(-1)).reshape(6, 6), torch.zeros(6, 6, dtype=torch.float64), 5
    )
    assert values == pytest.approx(spectrum[:5], rel=1e-3)
    assert (directions @ right[:5].T).abs().diagonal() == pytest.approx(
        torch.ones(5, dtype=torch.float64), abs=1e-2
    )


def test_the_jacobian_need_not_be_square():
    torch.manual_seed(0)
    matrix = torch.randn(20, 6, dtype=torch.float64)
    values, _ = answered_directions(lambda weights: matrix @ weights, torch.zeros(6, dtype=torch.float64), 6)
    assert values == pytest.approx(torch.linalg.svdvals(matrix), rel=1e-8)


def test_what_a_linear_method_forgets_is_found_and_nothing_of_what_it_keeps():
    forgetful, faithful = as_network(Forgetful()), as_network(torch.nn.Identity())
    found = found_in_null_space(place_of(as_method(forgetful)), forgetful, Rank(rank=40))
    assert largest_unanswered(found) > 2
    assert all(one.found_by == "null space of the linear part" for one in found)
    kept = found_in_null_space(place_of(as_method(faithful)), faithful, Rank(rank=40))
    assert largest_unanswered(kept) < 1.5
