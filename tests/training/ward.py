"""A plan to train a tiny network on a ward of three patients."""

from __future__ import annotations

from lowdose.training.plan import TrainingPlan

SOURCE = {"licence": "CC0", "citation": "made for this test"}


def plan(*sources: dict, **changes) -> TrainingPlan:
    content = {
        "name": "tiny",
        "version": "1",
        "summary": "A test.",
        "network": {"name": "residual-unet", "sizes": {"width": 8, "blocks": [1, 1, 1]}},
        "patch": 32,
        "schedule": {
            "n_steps": 4,
            "batch_size": 2,
            "warmup": 1,
            "ema_decay": 0.5,
            "validate_every": 2,
            "checkpoint_every": 2,
        },
        "sources": [SOURCE | source for source in sources] or [SOURCE | WARD],
    }
    return TrainingPlan.model_validate(content | changes)


WARD = {"name": "ward", "path": "ward", "patients": "folders", "validation_patients": ["cleo"], "weight": 3}
