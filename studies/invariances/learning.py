"""The shared representation, and the flow of every method; what was stopped goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from experiments import GENERAL, GENERAL_ERASERS_MM, SHIPPED

from lowdose.invariances.examples import Examples
from lowdose.invariances.experiment import (
    FlowPlan,
    RepresentationPlan,
    learn_flow,
    learn_representation,
)
from lowdose.invariances.learning import IDENTITY
from lowdose.invariances.models import FLOW_CARD, REPRESENTATION_CARD, SHARED, bundled_representation, copied
from lowdose.models.card import INVARIANCES, bundled_models, load_card
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.loop import Progress


def train_representation(
    examples: Callable[[], tuple[list[Examples], list[Examples]]], work: Path, plan: RepresentationPlan, *,
    anew: bool,
) -> Path:  # fmt: skip
    """Once for all methods; the one that comes with lowdose is this study's, and is taken unless `anew`."""
    folder = work / "representation"
    if not anew:
        return copied(bundled_representation(), folder)
    if not (folder / REPRESENTATION_CARD).exists():
        learn_representation(
            *examples(), [IDENTITY, *GENERAL, *GENERAL_ERASERS_MM], folder, plan,
            resume=(folder / CHECKPOINT).exists(), on_progress=say,
        )  # fmt: skip
    return folder


def train_flow(
    examples: tuple[list[Examples], list[Examples]], work: Path, method: str, plan: FlowPlan, *, anew: bool
) -> Path:
    """Of one method whose images are among the examples; that of `ct-default` comes with it."""
    folder = work / "flows" / method
    if method == SHIPPED and not anew:
        return Path(shutil.copytree(bundled_models()[SHIPPED] / INVARIANCES, folder, dirs_exist_ok=True))
    if not (folder / FLOW_CARD).exists():
        learn_flow(
            *examples, method, copied(work / "representation", folder / SHARED), folder, plan,
            digest=load_card(bundled_models()[SHIPPED]).digest if method == SHIPPED else None,
            resume=(folder / CHECKPOINT).exists(), on_progress=say,
        )  # fmt: skip
    return folder


def say(progress: Progress) -> None:
    if progress.validation is not None:
        left = progress.seconds_per_step * (progress.n_steps - progress.step) / 60
        told = f"loss {progress.loss:.3f}, held back {progress.validation.error:.3f}"
        print(f"  step {progress.step}/{progress.n_steps}: {told}, {left:.0f} min left", flush=True)
