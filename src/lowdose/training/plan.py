"""What to train on what: the YAML file of `lowdose train`, checked before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lowdose.models.card import MODEL_NAME
from lowdose.training.adversarial import Kind
from lowdose.training.loop import Decay, Schedule, Selection

PatchLength = Annotated[int, Field(ge=1)]


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
    split: Literal["training", "validation", "test"] = "training"
    """Scans for testing are never opened."""
    validation_patients: tuple[str, ...] = ()
    """With `folders`: the patients kept for validation."""
    test_patients: tuple[str, ...] = ()
    """With `folders`: the patients that training never opens."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How often patches are drawn from this source, shared among its patients."""
    licence: str
    citation: str

    @model_validator(mode="after")
    def _has_patients_to_hold_back(self) -> Source:
        held_back = {*self.validation_patients, *self.test_patients}
        if held_back and self.patients == "one":
            raise ValueError("validation_patients and test_patients need 'patients: folders'")
        both = sorted(set(self.validation_patients) & set(self.test_patients))
        if both:
            raise ValueError(f"{', '.join(both)} cannot be kept for validation and for testing")
        return self

    def split_of(self, patient: str) -> Literal["training", "validation", "test"]:
        """The split of one of its patients."""
        if patient in self.validation_patients:
            return "validation"
        return "test" if patient in self.test_patients else self.split


class NetworkChoice(_Strict):
    """A name in `lowdose.networks.NETWORKS` and the sizes that its class takes."""

    name: str
    sizes: dict[str, Any] = {}
    start: Path | None = None
    """A model folder whose weights to start from, relative to the data root."""


class ScheduleChoice(_Strict):
    """See `lowdose.training.loop.Schedule`."""

    n_steps: Annotated[int, Field(gt=0)]
    batch_size: Annotated[int, Field(gt=0)] = 12
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup: Annotated[int, Field(ge=1)] = 200
    decay: Decay = "cosine"
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    validate_every: Annotated[int, Field(gt=0)] = 500
    checkpoint_every: Annotated[int, Field(gt=0)] = 250
    selection: Selection = "error"
    seed: int = 1

    def schedule(self) -> Schedule:
        return Schedule(**self.model_dump())


class PatchChoice(_Strict):
    """Of scans that are their own target: see `lowdose.training.sampling.PairSampler`."""

    lowest_target_dose: Annotated[float, Field(gt=0, le=1)] = 0.3
    averaged: Annotated[float, Field(ge=0, le=1)] = 0.3
    kernels: Annotated[float, Field(ge=0, le=1)] = 0.5


class PerceptualChoice(_Strict):
    """A distance of features beside the losses of pixels."""

    features: str = "ct-encoder"
    """The encoder that comes with lowdose, or a file with the weights of VGG19."""
    weight: Annotated[float, Field(gt=0)] = 0.1


class CriticChoice(_Strict):
    """A name in `lowdose.networks.critics.CRITICS`, its sizes, and what it is shown."""

    name: str
    sizes: dict[str, Any] = {}
    shown: Literal["image", "gradient"] = "image"
    weight: Annotated[float, Field(gt=0)] = 1.0


class AdversarialChoice(_Strict):
    """See `lowdose.training.adversarial.Adversarial`."""

    kind: Kind
    critics: Annotated[tuple[CriticChoice, ...], Field(min_length=1)]
    critic_steps: Annotated[int, Field(ge=1)] = 1
    critic_rate: Annotated[float, Field(gt=0)] = 1.0
    betas: tuple[float, float] = (0.5, 0.9)
    penalty: Annotated[float, Field(ge=0)] = 10.0
    low_dose_is_fake: bool = False
    cutmix_weight: Annotated[float, Field(ge=0)] = 0.0
    cutmix_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    warmup: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _each_sees_something_else(self) -> AdversarialChoice:
        shown = [critic.shown for critic in self.critics]
        if len(set(shown)) < len(shown):
            raise ValueError("two critics are shown the same; give one of them 'shown: gradient'")
        if self.cutmix_weight and any(critic.name != "unet-critic" for critic in self.critics):
            raise ValueError("CutMix needs critics that judge every pixel: 'unet-critic'")
        return self


class LesionChoice(_Strict):
    """Feedback of a lesion detector: see `lowdose.training.lesion_inspired`."""

    annotations: Path
    """Lesions in COCO's layout, relative to the data root; their scans are what is trained on."""
    detector: Path
    """A folder of `lowdose train detector`, relative to the data root."""
    validation_patients: tuple[str, ...] = ()
    """Every fifth patient where none is named."""
    with_lesion: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of the patches that are drawn around a lesion."""
    pretraining_steps: Annotated[int, Field(ge=0)] = 0
    """T1: of the detector, on the normal dose, before all."""
    denoiser_steps: Annotated[int, Field(ge=1)] = 200
    """T2: of every turn of the denoiser."""
    detector_steps: Annotated[int, Field(ge=0)] = 50
    """T3: of every turn of the detector, on denoised images; 0 leaves it as it is."""
    detector_rate: Annotated[float, Field(gt=0)] = 0.1
    """Its learning rate as a share of the denoiser's."""
    roi_share: Annotated[float, Field(ge=0)] = 0.3
    """Gradient of the regions' distance at the denoiser's last layer, as a share of the other losses'."""
    detection_share: Annotated[float, Field(ge=0)] = 0.3
    """Gradient of the detection loss there."""


class TrainingPlan(_Strict):
    """One model: its name and card texts, network, data and schedule."""

    method: Literal["supervised", "adversarial"] = "supervised"
    name: Annotated[str, Field(pattern=MODEL_NAME)]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,40}$")]
    summary: str
    known_limits: tuple[str, ...] = ()
    not_trained_on: tuple[str, ...] = ()
    """Words of BodyPartExamined for which users are told that the network has seen nothing."""
    network: NetworkChoice
    losses: dict[str, Annotated[float, Field(gt=0)]] = {"share-of-noise-left": 1.0}
    """Names in `lowdose.losses.PIXEL_LOSSES` and their weights."""
    perceptual: PerceptualChoice | None = None
    adversarial: AdversarialChoice | None = None
    offset_hu: float = 0.0
    scale_hu: Annotated[float, Field(gt=0)] = 500.0
    trained_range_hu: tuple[float, float] = (-1200.0, 3071.0)
    """What 12 bits hold, and the noise of air below it; pixels outside pass through."""
    stored_as: Literal["float32", "float16"] = "float32"
    """Of the exported weights; they are rounded before anything is measured, and half as large a file."""
    dose_gain: Annotated[float, Field(gt=1)] = 4.0
    patch: tuple[PatchLength, PatchLength, PatchLength] = (1, 80, 80)
    """Its lengths along z, y, x; a single number is the side of a square in one slice."""
    noise_model: Path | None = None
    """A folder of `lowdose train noise-model`, relative to the data root: scans that are their own target are
    given its noise, and the input is as noisy as the scans that it was learned from."""
    drawing: PatchChoice = PatchChoice()
    schedule: ScheduleChoice
    sources: tuple[Source, ...] = ()
    manifest: Path | None = None
    """A CSV file with a line a scan, in place of sources; relative to the data root."""
    lesions: LesionChoice | None = None
    """Scans with lesions, in place of sources, and a detector that the denoiser is to please."""

    @field_validator("patch", mode="before")
    @classmethod
    def _square(cls, patch: Any) -> Any:
        return (1, patch, patch) if isinstance(patch, int) else patch

    @model_validator(mode="after")
    def _has_training_data(self) -> TrainingPlan:
        if [bool(self.sources), self.manifest is not None, self.lesions is not None].count(True) != 1:
            raise ValueError("give either 'sources' or a 'manifest' or 'lesions'")
        if self.sources and all(source.split != "training" for source in self.sources):
            raise ValueError("no source has split 'training'")
        if self.sources and self.schedule.selection == "ssim" and not any(map(_validates, self.sources)):
            raise ValueError("'selection: ssim' needs validation patients")
        return self

    @model_validator(mode="after")
    def _is_of_one_method(self) -> TrainingPlan:
        if (self.method == "adversarial") != (self.adversarial is not None):
            raise ValueError("'method: adversarial' and the key 'adversarial' belong together")
        if not self.losses and self.perceptual is None and self.adversarial is None:
            raise ValueError("there is no loss; name one in 'losses'")
        return self


def _validates(source: Source) -> bool:
    return source.split == "validation" or bool(source.validation_patients)


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
