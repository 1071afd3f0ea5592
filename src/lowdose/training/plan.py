"""What to train on what: the YAML file of `lowdose train`, checked before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lowdose.training.loop import Schedule


class PlanError(Exception):
    """One sentence: which plan, what is wrong in it, what to do."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Scans of one patient, or of several with a folder for each."""

    name: str
    path: Path
    """Relative to the data root given on the command line."""
    patients: Literal["one", "folders"] = "one"
    """With `folders`, every folder directly below `path` is a patient."""
    split: Literal["training", "validation"] = "training"
    validation_patients: tuple[str, ...] = ()
    """With `folders`: the patients kept for validation."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How often patches are drawn from this source, shared among its patients."""
    licence: str
    citation: str

    @model_validator(mode="after")
    def _has_patients_to_hold_back(self) -> Source:
        if self.validation_patients and self.patients == "one":
            raise ValueError("validation_patients needs 'patients: folders'")
        return self


class NetworkChoice(_Strict):
    name: str
    sizes: dict[str, Any] = {}


class ScheduleChoice(_Strict):
    """See `lowdose.training.loop.Schedule`."""

    n_steps: Annotated[int, Field(gt=0)]
    batch_size: Annotated[int, Field(gt=0)] = 12
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup: Annotated[int, Field(ge=1)] = 200
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    validate_every: Annotated[int, Field(gt=0)] = 500
    checkpoint_every: Annotated[int, Field(gt=0)] = 250
    seed: int = 1

    def schedule(self) -> Schedule:
        return Schedule(**self.model_dump())


class TrainingPlan(_Strict):
    """One model: its name and card texts, network, data and schedule."""

    method: Literal["supervised"] = "supervised"
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,40}$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,40}$")]
    summary: str
    known_limits: tuple[str, ...] = ()
    not_trained_on: tuple[str, ...] = ()
    """Words of BodyPartExamined for which users are told that the network has seen nothing."""
    network: NetworkChoice
    offset_hu: float = 0.0
    scale_hu: Annotated[float, Field(gt=0)] = 500.0
    dose_gain: Annotated[float, Field(gt=1)] = 4.0
    patch: Annotated[int, Field(ge=16, multiple_of=8)] = 80
    schedule: ScheduleChoice
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_training_data(self) -> TrainingPlan:
        if all(source.split == "validation" for source in self.sources):
            raise ValueError("no source has split 'training'")
        return self


def read_plan(path: Path) -> TrainingPlan:
    """The plan in the YAML file `path`; PlanError names the first key that is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror}); give a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: not a YAML file ({str(error).splitlines()[0]}); mend it") from None
    try:
        return TrainingPlan.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the plan"
        raise PlanError(
            f"{path}: {place}: {first['msg']}; see `lowdose train --template supervised`"
        ) from None
