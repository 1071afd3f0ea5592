"""A noise model as a folder: `noise.json` and `weights.safetensors`; and noise from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lowdose.networks.noise_gan import NoiseGan
from lowdose.networks.noise_vae import NoiseVae, latent_field
from lowdose.quality.noise_likeness import NoiseLikeness
from lowdose.training.carded_weights import CardedError, read_card, read_weights, write_card, write_weights

NOISE_CARD = "noise.json"

Kind = Literal["vae", "gan"]
NOISE_NETWORKS: dict[Kind, type[NoiseVae] | type[NoiseGan]] = {"vae": NoiseVae, "gan": NoiseGan}

Floats = NDArray[np.float32]

_REACH = 64.0
"""Pixels over which the texture of an image hardly changes: patches of 32, as were learned from, have one."""
_GRID = 32
"""Pixels between the latents that an image is given."""


class NoiseModelError(Exception):
    """One sentence: which noise model, what is wrong with it, what to do."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NoiseOrigin(_Strict):
    """A scan that noise was learned from."""

    name: str
    kernel: str
    """As its makers name it; empty where they don't say."""
    pixel_mm: tuple[float, float]
    patches: Annotated[int, Field(gt=0)]
    left_out: dict[str, int]
    """Flat patches that showed more than noise, by the reason."""
    level_hu: Annotated[float, Field(gt=0)]
    """Median standard deviation of its patches."""


class NoiseCard(_Strict):
    """What a noise model is, and what it was learned from."""

    kind: Kind
    sizes: dict[str, Any]
    sources: Annotated[tuple[NoiseOrigin, ...], Field(min_length=1)]
    scale: Annotated[float, Field(gt=0)]
    """What the network's noise is multiplied by so that patches show the level that real ones show."""
    training: str
    likeness: NoiseLikeness | None = None
    """Of its noise with the patches that it learned from."""
    weights_sha256: str


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Noise as it was learned: of unit level, or of a level for every pixel."""

    network: NoiseVae | NoiseGan
    levels: tuple[float, ...]
    """Standard deviations in HU that the scans have, one each."""
    scale: float = 1.0

    def level(self, generator: np.random.Generator) -> float:
        """That of one of the scans, in HU."""
        return float(generator.choice(self.levels))

    def unit(self, n: int, n_y: int, n_x: int, generator: np.random.Generator) -> Floats:
        """Independent noise `[n, y, x]` whose texture changes slowly, and whose patches have unit level.

        Without seam or repetition at any size; the same state of `generator` gives the same noise.
        """
        chance = torch.Generator().manual_seed(int(generator.integers(2**63)))
        network = self.network
        rows, columns = (max(2, round(length / _GRID) + 1) for length in (n_y, n_x))
        with torch.no_grad():
            latents = latent_field(n, network.n_latents, rows, columns, _REACH / _GRID, chance)
            made = network.noise(latents, n_y, n_x, chance)[:, 0].numpy()
        return np.asarray(made * np.float32(self.scale), dtype=np.float32)

    def __call__(self, levels: Floats, _hu: Floats, generator: np.random.Generator) -> Floats:
        """Noise `[z, y, x]` in HU, its standard deviation `levels` at every pixel; slices are independent."""
        n_z, n_y, n_x = levels.shape
        noise: Floats = levels * self.unit(n_z, n_y, n_x, generator)
        return noise


def write_noise_model(
    network: NoiseVae | NoiseGan, kind: Kind, sizes: dict[str, Any], folder: Path, **told: Any
) -> NoiseCard:
    """Write the folder and return its card; `told` are the other fields of `NoiseCard`."""
    digest = write_weights(network, folder, NOISE_CARD)
    card = NoiseCard(kind=kind, sizes=sizes, weights_sha256=digest, **told)
    write_card(card, folder / NOISE_CARD)
    return card


def read_noise_card(folder: Path) -> NoiseCard:
    """The card in `folder`; NoiseModelError if there is none that can be read."""
    path = folder / NOISE_CARD
    if not path.is_file():
        raise NoiseModelError(
            f"{folder}: holds no {NOISE_CARD}, so it is no noise model; `lowdose train noise-model` makes one"
        )
    try:
        return read_card(path, NoiseCard)
    except CardedError as error:
        raise NoiseModelError(f"{error}; train the noise model anew") from None


def load_noise_model(folder: Path) -> NoiseModel:
    """The noise model in `folder`; NoiseModelError if it is damaged or not one."""
    card = read_noise_card(folder)
    try:
        network = NOISE_NETWORKS[card.kind](**card.sizes)
        network.load_state_dict(read_weights(folder, card.weights_sha256, NOISE_CARD))
    except CardedError as error:
        raise NoiseModelError(f"{error}; train the noise model anew") from None
    except (TypeError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise NoiseModelError(
            f"{folder / NOISE_CARD}: its sizes do not fit ({first}); train the noise model anew"
        ) from None
    network.eval().requires_grad_(False)
    return NoiseModel(network, levels_of(card.sources), card.scale)


def levels_of(sources: Sequence[NoiseOrigin]) -> tuple[float, ...]:
    """The levels of the scans in HU."""
    return tuple(source.level_hu for source in sources)
