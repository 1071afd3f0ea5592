"""Lesions of many scans in one JSON file, laid out like COCO's: an image for each slice that was searched.

To COCO's keys every image adds the number of its `slice` in the scan `file_name`, counted from 0 along the
stack's normal as everywhere in lowdose, its `patient` and, where there is one, the scan `low_file_name` of
the same slices at a low dose; every annotation adds the number of its `lesion`, and where a detector found
it, how sure that was as its `score`, which is not read back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from lowdose.io.origin import InputError, one_line, unreadable
from lowdose.lesions import Box, Lesion, LesionError, check_lesions, linked
from lowdose.provenance import write_json


@dataclass(frozen=True)
class AnnotatedScan:
    """A scan's lesions in the slices that were searched for them."""

    source: str
    """The scan's folder or file, as a path from the JSON file's folder."""
    patient: str
    size: tuple[int, int]
    """Rows and columns."""
    searched: tuple[int, ...]
    """Slices; those without a box hold no lesion."""
    lesions: tuple[Lesion, ...]
    low: str | None = None
    """The same slices at a low dose, where they were taken: a path as `source`."""


class _Category(BaseModel):
    id: int
    name: str


class _Image(BaseModel):
    id: int
    file_name: str
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    slice: int = Field(ge=0)
    patient: str | None = None
    low_file_name: str | None = None


class _Annotation(BaseModel):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    lesion: int | None = None


class _Document(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def write_coco(path: Path, scans: Sequence[AnnotatedScan]) -> None:
    """Write the lesions of `scans`, whole or not at all; boxes are x, y, width, height, as COCO has them."""
    kinds = sorted({lesion.kind for scan in scans for lesion in scan.lesions})
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    n_lesions = 0
    for scan in scans:
        image_of = {z: len(images) + index for index, z in enumerate(scan.searched, start=1)}
        height, width = scan.size
        of_scan = {"file_name": scan.source, "height": height, "width": width, "patient": scan.patient}
        if scan.low is not None:
            of_scan["low_file_name"] = scan.low
        images += [{"id": number, "slice": z} | of_scan for z, number in image_of.items()]
        for lesion in scan.lesions:
            n_lesions += 1
            for z, boxes in lesion.boxes.items():
                for y0, x0, y1, x1 in boxes:
                    annotations.append(
                        {
                            "id": len(annotations) + 1, "image_id": image_of[z],
                            "category_id": kinds.index(lesion.kind) + 1, "bbox": [x0, y0, x1 - x0, y1 - y0],
                            "area": (x1 - x0) * (y1 - y0), "iscrowd": 0, "lesion": n_lesions,
                        }
                        | ({} if lesion.score is None else {"score": lesion.score})
                    )  # fmt: skip
    categories = [{"id": number, "name": kind} for number, kind in enumerate(kinds, start=1)]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories})


def read_coco(path: Path) -> tuple[AnnotatedScan, ...]:
    """The scans of a file and their lesions.

    Without `lesion`, boxes of neighbouring slices that meet are one; without `patient`, every scan is one.
    Raises InputError for a file that is not of this layout, and for boxes that have no image, no class or no
    area or lie outside of their image.
    """
    label = one_line(str(path))
    document = _parsed(path, label)
    kinds = {one.id: one.name for one in document.categories}
    images = {one.id: one for one in document.images}
    if not images:
        raise InputError(
            f"{label} names no images; give a file with an image for each slice that was searched"
        )
    boxes: dict[str, dict[tuple[str, int | None], dict[int, list[Box]]]] = {}
    for number, one in enumerate(document.annotations, start=1):
        if one.image_id not in images:
            raise InputError(f"{label}: annotation {number} is of image {one.image_id}, which the file lacks")
        if one.category_id not in kinds:
            raise InputError(
                f"{label}: annotation {number} is of the class {one.category_id}, which its categories "
                f"lack; they have {', '.join(map(str, kinds)) or 'none'}"
            )
        image = images[one.image_id]
        x, y, width, height = one.bbox
        own = boxes.setdefault(image.file_name, {}).setdefault((kinds[one.category_id], one.lesion), {})
        own.setdefault(image.slice, []).append(Box(y, x, y + height, x + width))
    return tuple(
        _annotated(label, source, of_scan, boxes.get(source, {}))
        for source, of_scan in _by_source(images.values()).items()
    )


def _parsed(path: Path, label: str) -> _Document:
    try:
        return _Document.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise unreadable(label, error) from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise InputError(f"{label} is not JSON; give lesions in COCO's layout") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{label}: {place}: {first['msg']}; correct it there") from None


def _by_source(images: Iterable[_Image]) -> dict[str, list[_Image]]:
    found: dict[str, list[_Image]] = {}
    for image in images:
        found.setdefault(image.file_name, []).append(image)
    return found


def _annotated(
    label: str,
    source: str,
    images: Sequence[_Image],
    boxes: dict[tuple[str, int | None], dict[int, list[Box]]],
) -> AnnotatedScan:
    sizes = {(image.height, image.width) for image in images}
    if len(sizes) > 1:
        raise InputError(f"{label}: the images of {source} are of {len(sizes)} sizes; a scan has one")
    patients = {image.patient for image in images}
    if len(patients) > 1:
        raise InputError(f"{label}: the images of {source} are of {len(patients)} patients; a scan is of one")
    searched = tuple(sorted({image.slice for image in images}))
    low = {image.low_file_name for image in images}
    if len(low) > 1:
        raise InputError(f"{label}: the images of {source} name {len(low)} low-dose scans; a scan has one")
    (size,), (patient,) = sizes, patients
    lesions: list[Lesion] = []
    for (kind, number), own in boxes.items():
        if number is None:
            lesions += linked(own, kind)
        else:
            lesions.append(Lesion(kind, {z: tuple(own[z]) for z in sorted(own)}))
    try:
        check_lesions(lesions, (searched[-1] + 1, *size), f"{label}, {source}")
    except LesionError as error:
        raise InputError(str(error)) from None
    return AnnotatedScan(source, patient or source, size, searched, tuple(lesions), low.pop())
