from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lowdose.denoising import make_denoiser  # noqa: E402
from lowdose.invariances.examples import make_examples  # noqa: E402
from lowdose.invariances.experiment import (  # noqa: E402
    FlowPlan,
    RepresentationPlan,
    learn_flow,
    learn_representation,
)
from lowdose.invariances.flow import FlowSizes  # noqa: E402
from lowdose.invariances.learning import (  # noqa: E402
    CONSTANT,
    CONSTANT_HU,
    IDENTITY,
    ExamplePatches,
    LearnAsPublished,
    Likelihood,
    divergence,
    shown,
    smooth,
)
from lowdose.invariances.models import (  # noqa: E402
    InvarianceError,
    copied,
    load_flow,
    load_learned,
    load_representation,
)
from lowdose.invariances.representation import Critic, Representation, RepresentationSizes  # noqa: E402
from lowdose.invariances.sampling import Learned, directions, sampled  # noqa: E402
from lowdose.quality.structural_change import smoothed  # noqa: E402
from lowdose.training.batches import Batch  # noqa: E402
from lowdose.training.loop import Turn  # noqa: E402
from tests.invariances.chests import chest  # noqa: E402
from tests.invariances.places import BLUR, place_of  # noqa: E402
from tests.invariances.places import CONSTANT as FORGETS  # noqa: E402
from tests.invariances.places import IDENTITY as KEEPS  # noqa: E402

TINY = RepresentationSizes(encoder_width=12, decoder_width=4, critic_width=4, first=8, latents=64)
TINY_FLOW = FlowSizes(n_blocks=2, hidden=16, condition=8, embedding_width=4)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples") / "chest"
    make = {"gaussian": partial(make_denoiser, "gaussian")}
    return make_examples(chest(n=6), make, folder, n_slices=3, n_lesions=2, seed=1)


@pytest.fixture(scope="module")
def representation(examples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("representation")
    plan = RepresentationPlan(TINY, n_steps=4, batch_size=2)
    card = learn_representation([examples], [examples], [IDENTITY, "gaussian"], folder, plan)
    assert card is not None
    return folder


@pytest.fixture(scope="module")
def flow(examples, representation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    copied(representation, folder / "representation")
    plan = FlowPlan(TINY_FLOW, n_steps=4, batch_size=4)
    assert learn_flow([examples], [examples], "gaussian", representation, folder, plan) is not None
    return folder


def test_patches_hold_the_output_the_noise_and_the_input_of_one_place(examples):
    draw = ExamplePatches([examples], [IDENTITY], 64)
    output_and_noise, image = draw(np.random.default_rng(0))
    assert output_and_noise.shape == (2, 64, 64)
    assert image.shape == (1, 64, 64)
    assert np.array_equal(output_and_noise[0], image[0])
    assert (output_and_noise[1] >= 2).all()
    forgotten, _ = ExamplePatches([examples], [CONSTANT], 64)(np.random.default_rng(0))
    assert (forgotten[0] == CONSTANT_HU).all()
    blurred, image = ExamplePatches([examples], ["gaussian"], 64)(np.random.default_rng(0))
    assert 0.9 < np.corrcoef(blurred[0].ravel(), image.ravel())[0, 1] < 1


def test_smoothing_is_that_of_scipy():
    images = np.random.default_rng(0).normal(size=(2, 1, 40, 40)).astype(np.float32)
    found = smooth(torch.from_numpy(images), 1.7).numpy()
    assert found == pytest.approx(smoothed(images, 1.7), abs=1e-5)


def test_noise_costs_half_a_nat_for_each_independent_pixel_and_a_missing_lesion_more_than_its_place():
    likelihood = Likelihood(1.7)
    noise = smoothed(np.random.default_rng(0).normal(size=(8, 1, 64, 64)), 1.7)
    deviation = torch.full((8, 1, 64, 64), float(noise.std()))
    white = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 1, 64, 64)).astype(np.float32))
    found = likelihood(white, torch.zeros_like(white), deviation).mean().item()
    n_independent = 64**2 / (4 * np.pi * 1.7**2)
    assert found == pytest.approx(0.5 * n_independent, rel=0.2)
    y, x = np.mgrid[:64, :64]
    lesion = torch.from_numpy(10 * (np.hypot(y - 32, x - 32) < 5)).float() * deviation[:1]
    assert likelihood(lesion[None, 0], torch.zeros(1, 1, 64, 64), deviation[:1]).item() > 10


def test_the_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    one = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(one, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(divergence(mean, log_variance), expected, atol=1e-5)


def test_a_run_that_was_cut_goes_on_to_the_bit(examples, tmp_path):
    plan = RepresentationPlan(TINY, n_steps=4, batch_size=2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    learn_representation([examples], [], ["gaussian"], whole, plan)
    assert learn_representation([examples], [], ["gaussian"], cut, plan, max_seconds=0) is None
    with pytest.raises(InvarianceError, match="give --resume"):
        learn_representation([examples], [], ["gaussian"], cut, plan)
    learn_representation([examples], [], ["gaussian"], cut, plan, resume=True)
    one, other = (load_representation(folder)[0].state_dict() for folder in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_a_checkpoint_there_is_nothing_to_resume(examples, tmp_path):
    with pytest.raises(InvarianceError, match="no checkpoint"):
        learn_representation([examples], [], ["gaussian"], tmp_path, resume=True)


def test_the_published_losses_add_up(examples):
    sizes = RepresentationSizes(
        side=16, first=4, latents=32, encoder_width=12, decoder_width=4, critic_width=4
    )
    torch.manual_seed(0)
    method = LearnAsPublished(Representation(sizes), Critic(sizes))
    generator = np.random.default_rng(0)
    batch = Batch(
        generator.normal(0, 100, (2, 2, 16, 16)).astype(np.float32),
        generator.normal(0, 100, (2, 1, 16, 16)).astype(np.float32),
    )
    turn = Turn(0, torch.Generator().manual_seed(0), slice(0, 2), 2, torch.device("cpu"))
    said = method.step(batch, turn, lambda name, loss: None)
    denoised, _, image = shown(batch, torch.device("cpu"))
    # Nothing is learned yet, so that the denoised image comes back; the critic's opinion is what is left.
    opinion = -method.critic(denoised, denoised).mean().item()
    expected = 0.0011852 * (denoised - image).abs().sum().item() / 2 + 0.57504 * said["surprise"] + opinion
    assert said["loss"] == pytest.approx(expected, rel=1e-4)


def test_folders_hold_what_was_learned(flow, representation):
    learned, card, told = load_learned(flow)
    assert card.method == "gaussian"
    assert told.methods == (IDENTITY, "gaussian")
    assert told.error is not None
    assert told.error > 0
    assert isinstance(learned, Learned)


def test_a_flow_of_another_representation_is_refused(flow, examples, tmp_path):
    other = tmp_path / "other"
    plan = RepresentationPlan(TINY, n_steps=2, batch_size=2)
    learn_representation([examples], [], ["gaussian"], other, plan)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("flow.json", "weights.safetensors"):
        (mixed / name).write_bytes((flow / name).read_bytes())
    copied(other, mixed / "representation")
    with pytest.raises(InvarianceError, match="another representation"):
        load_learned(mixed)


def test_damaged_and_missing_folders_are_refused(flow, tmp_path):
    with pytest.raises(InvarianceError, match=r"holds no flow\.json"):
        load_flow(tmp_path)
    (tmp_path / "flow.json").write_bytes((flow / "flow.json").read_bytes())
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(InvarianceError, match="SHA-256"):
        load_flow(tmp_path)


def test_samples_of_what_passes_everything_on_are_the_input_itself(flow):
    learned, _, _ = load_learned(flow)
    place = place_of(KEEPS)
    for candidate in sampled(place, learned, 4):
        assert candidate.input == pytest.approx(place.input, abs=1e-2)
        assert candidate.change.ignored == 0.0


def test_samples_of_what_forgets_everything_are_all_consistent_and_differ(flow):
    learned, _, _ = load_learned(flow)
    found = sampled(place_of(FORGETS), learned, 4)
    assert all(one.change.consistent for one in found)
    assert not np.array_equal(found[0].input, found[1].input)


def test_directions_are_ordered_by_their_share_and_go_both_ways(flow):
    learned, _, _ = load_learned(flow)
    found = directions(place_of(BLUR), learned, 8, n_directions=3)
    shares = [one.share for one in found]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1
    assert all(len(one.towards) == 4 for one in found)


def test_the_same_seed_gives_the_same_samples(flow):
    learned, _, _ = load_learned(flow)
    place = place_of(BLUR)
    one, same, other = (sampled(place, learned, 2, seed) for seed in (1, 1, 2))
    assert np.array_equal(one[0].input, same[0].input)
    assert not np.array_equal(one[0].input, other[0].input)
