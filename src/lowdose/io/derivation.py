"""What the header of a derived image says: what was done, by what, to which image, and nothing that is stale.

The rules are those of DICOM PS3.3, C.7.6.1.1 (General Image) and C.12.1 (SOP Common): new instance and series
UIDs, the same study, frame of reference, geometry and acquisition, and every attribute that spoke of the old
pixels removed.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from lowdose import __version__
from lowdose.io.dicom import MAX_NESTING, TOO_NESTED, read_dataset
from lowdose.io.header import CODING_SCHEME
from lowdose.io.origin import InputError, one_line

STATEMENT = (
    "Research and quality-assurance software, not a medical device; view together with the original images."
)

IMPLEMENTATION_UID = UID("2.25.209381547326911853067190245372381650433")
"""Names this software as the creator of an instance; never changes."""

_CODES = uuid.UUID("6f0c6a51-93c4-4c57-9d20-5f3f8f2e7b11")
"""The name space of the codes: the URN of a code is the version 5 UUID of its value therein."""

_LONG_STRING = 64
_SHORT_TEXT = 1024
_LARGEST_SOURCE_NUMBER = 21_000_000
"""Of a source SeriesNumber: a hundred times more still fits a DICOM integer string (2^31 - 1)."""

_STALE = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries"),
    *("LargestPixelValueInSeries", "SmallestImagePixelValueInPlane", "LargestImagePixelValueInPlane"),
    *("IconImageSequence", "VOILUTSequence", "PresentationLUTSequence", "PresentationLUTShape"),
    *("OriginalAttributesSequence", "EncryptedAttributesSequence", "MACParametersSequence"),
    *("StorageMediaFileSetID", "StorageMediaFileSetUID", "RetrieveAETitle", "RetrieveURL"),
    *("PixelDataProviderURL", "InstanceAvailability"),
)
"""Attributes of the old pixels, of the old file or of its signature: none holds for the derived image."""

_LOSSY_METHODS = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
}
"""LossyImageCompressionMethod (PS3.3 C.7.6.1.1.5.1) by transfer syntax."""


@dataclass(frozen=True)
class Derivation:
    """How a derived series says what was done to it."""

    marker: str
    """Appended to SeriesDescription, for instance "[lowdose ct-default s1.0]"; never truncated."""
    description: str
    """DerivationDescription: method, version, digest prefix, strength; `STATEMENT` is added if absent."""
    code: tuple[str, str]
    """Value and meaning of the code in the private scheme 99LOWDOSE."""
    image_type: str
    """What the image is, in ImageType: DENOISED, LOWDOSE_SIM."""
    series_offset: int
    """SeriesNumber is a hundred times the source's, plus this: 1 to 99."""

    def __post_init__(self) -> None:
        value, meaning = self.code
        lengths = ((self.marker, 32), (value, 16), (meaning, _LONG_STRING), (self.description, _SHORT_TEXT))
        for text, longest in lengths:
            if not text or len(text) > longest or not text.isascii() or "\\" in text:
                raise ValueError(f"{text!r} must be 1 to {longest} ASCII characters without a backslash")
        if not re.fullmatch(r"[A-Z0-9_ ]{1,16}", self.image_type):
            raise ValueError(f"{self.image_type!r} must be 1 to 16 of A-Z, 0-9, space and underscore")
        if not 1 <= self.series_offset <= 99:
            raise ValueError(f"the series offset is {self.series_offset}; it must be 1 to 99")


def derived_header(
    source: Path, derivation: Derivation, series_uid: UID, started: datetime, *, lossy: bool = False
) -> Dataset:
    """The header of `source` turned into that of one derived image, without pixels.

    `lossy` says that the source's pixels have been compressed with loss. InputError where text is burnt
    into them.
    """
    header = read_dataset(source)
    if element_text(header, "BurnedInAnnotation").upper() == "YES":
        raise InputError(
            f"{one_line(str(source))} has text burnt into its image, which no method may change; "
            "leave this series aside"
        )
    syntax = str(header.file_meta.TransferSyntaxUID)
    n_bytes = header.Rows * header.Columns * header.BitsAllocated // 8
    _make_writable(header)
    try:
        _remove_stale(header)
    except InputError as error:
        raise InputError(f"{one_line(str(source))} {error}") from None
    for keyword in _STALE:
        if keyword in header:
            del header[keyword]
    if lossy or element_text(header, "LossyImageCompression") == "01":
        _keep_lossy(header, _LOSSY_METHODS.get(syntax), n_bytes / max(source.stat().st_size, 1))
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        _match_signedness(header, keyword)
    header.HighBit = header.BitsStored - 1
    _describe(header, derivation, started)
    _identify(header, derivation, series_uid, started)
    return header


def element_text(header: Dataset, keyword: str) -> str:
    """The element as it stands in the file, without pydicom's judgement of it; empty where it is missing."""
    if keyword not in header:
        return ""
    element = header.get_item(keyword)
    value = element.value
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    if isinstance(value, MultiValue):
        return "\\".join(str(part) for part in value)
    return "" if value is None else str(value)


def _make_writable(header: Dataset) -> None:
    """Let every element of another encoding be read now; what cannot be read goes along as unknown bytes."""
    if header.original_encoding == (False, True):
        return
    for tag in list(header.keys()):
        element = header.get_item(tag)
        try:
            header[tag]
        except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError):
            header[tag] = DataElement(tag, "UN", element.value)


def _remove_stale(dataset: Dataset, depth: int = 0) -> None:
    """Remove private elements, overlays, curves, pixel data, signatures and padding, at every depth."""
    if depth > MAX_NESTING:
        raise InputError(TOO_NESTED)
    for tag in list(dataset.keys()):
        group = tag.group
        if group % 2 or group < 8 or group >> 8 in (0x50, 0x60) or group >= 0x7FE0:
            del dataset[tag]
        elif _is_sequence(dataset.get_item(tag)):
            for item in dataset[tag].value or ():
                _remove_stale(item, depth + 1)


def _is_sequence(element: DataElement | RawDataElement) -> bool:
    if element.VR in (None, "UN") and dictionary_has_tag(element.tag):
        return bool(dictionary_VR(element.tag) == "SQ")
    return bool(element.VR == "SQ")


def _keep_lossy(header: Dataset, method: str | None, ratio: float) -> None:
    """Once compressed with loss, an image says so for ever, uncompressed or not.

    `method` is that of the source file if it is compressed with loss, and `ratio` its own.
    """
    header.LossyImageCompression = "01"
    if method is None:
        return
    if "LossyImageCompressionRatio" not in header:
        header.LossyImageCompressionRatio = f"{max(ratio, 1.0):.2f}"
    if "LossyImageCompressionMethod" not in header:
        header.LossyImageCompressionMethod = method


def _match_signedness(header: Dataset, keyword: str) -> None:
    """Give a padding value the VR that PixelRepresentation demands; the sixteen bits stay."""
    if keyword not in header:
        return
    value = header.get_item(keyword).value
    if isinstance(value, bytes):
        if len(value) != 2:
            return
        value = int.from_bytes(value, "little" if header.original_encoding[1] else "big")
    signed = header.PixelRepresentation == 1
    bits = int(value) & 0xFFFF
    if signed and bits > 0x7FFF:
        bits -= 0x10000
    header[keyword] = DataElement(header.get_item(keyword).tag, "SS" if signed else "US", bits)


def _describe(header: Dataset, derivation: Derivation, started: datetime) -> None:
    """Say what was done, by what, and to which image; what the source said of itself is kept behind it."""
    kind = element_text(header, "ImageType").split("\\")
    # The fourth value of a CT image's type has terms of its own, none of them for this; the fifth is free.
    flavor = kind[2] if len(kind) > 2 and kind[2] else "AXIAL"
    header.ImageType = ["DERIVED", "SECONDARY", flavor, "", derivation.image_type]
    description = derivation.description
    if STATEMENT not in description:
        description = f"{description[: _SHORT_TEXT - len(STATEMENT) - 1]} {STATEMENT}"
    earlier = element_text(header, "DerivationDescription")
    if earlier.isascii() and earlier:
        description = f"{description} Before that: {earlier}"
    header.DerivationDescription = description[:_SHORT_TEXT]
    header.DerivationCodeSequence = [
        *_items(header, "DerivationCodeSequence"),
        _private_code(*derivation.code),
    ]
    source = Dataset()
    source.ReferencedSOPClassUID = element_text(header, "SOPClassUID")
    source.ReferencedSOPInstanceUID = element_text(header, "SOPInstanceUID")
    source.PurposeOfReferenceCodeSequence = [
        _code("121322", "DCM", "Source image for image processing operation")
    ]
    header.SourceImageSequence = [source]
    equipment = Dataset()
    equipment.Manufacturer = "lowdose"
    equipment.ManufacturerModelName = derivation.marker.strip("[]")
    equipment.SoftwareVersions = __version__
    equipment.ContributionDateTime = started.strftime("%Y%m%d%H%M%S.%f%z")
    equipment.ContributionDescription = derivation.description
    equipment.PurposeOfReferenceCodeSequence = [_code("109102", "DCM", "Processing Equipment")]
    header.ContributingEquipmentSequence = [*_items(header, "ContributingEquipmentSequence"), equipment]


def _identify(header: Dataset, derivation: Derivation, series_uid: UID, started: datetime) -> None:
    """New instance and series; dates and times in the time zone that the file uses."""
    header.SOPInstanceUID = new_uid()
    header.SeriesInstanceUID = series_uid
    header.SeriesDescription = _marked(header, derivation.marker)
    header.SeriesNumber = _series_number(element_text(header, "SeriesNumber"), derivation.series_offset)
    header.InstanceCreatorUID = IMPLEMENTATION_UID
    zone = re.fullmatch(r"([+-])(\d\d)(\d\d)", element_text(header, "TimezoneOffsetFromUTC"))
    here = started.tzinfo
    if zone is not None:
        offset = timedelta(hours=int(zone[2]), minutes=int(zone[3]))
        here = timezone(-offset if zone[1] == "-" else offset)
    begun, now = started.astimezone(here), datetime.now(here)
    header.SeriesDate, header.SeriesTime = begun.strftime("%Y%m%d"), begun.strftime("%H%M%S")
    header.InstanceCreationDate, header.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    header.ContentDate, header.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")


def new_uid() -> UID:
    """A unique identifier made from a random UUID, as PS3.5 B.2 has it."""
    return UID(f"2.25.{uuid.uuid4().int}")


def _marked(header: Dataset, marker: str) -> str:
    """The source's description with `marker`; 64 characters hold the marker whole and what fits before it."""
    described = header.get("SeriesDescription") or ""
    text = described if isinstance(described, str) else "/".join(map(str, described))
    text = "".join(character for character in text if character.isprintable() and character not in "\\\ufffd")
    return f"{text[: _LONG_STRING - len(marker) - 1].strip()} {marker}".strip()


def _series_number(source: str, offset: int) -> int:
    """A hundred times the source's number plus `offset`; `offset` alone if the source has no usable one."""
    number = int(source) if re.fullmatch(r"\+?\d{1,12}", source) else 0
    return number * 100 + offset if number <= _LARGEST_SOURCE_NUMBER else offset


def _items(header: Dataset, keyword: str) -> list[Dataset]:
    return list(header[keyword].value or ()) if keyword in header else []


def _private_code(value: str, meaning: str) -> Dataset:
    """A code of our own scheme, as a URN (PS3.3 8.8): a plain CodeValue is for schemes that others know."""
    item = Dataset()
    item.URNCodeValue = uuid.uuid5(_CODES, value).urn
    item.CodingSchemeDesignator, item.CodeMeaning = CODING_SCHEME, meaning
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
