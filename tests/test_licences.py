"""What users install with us may be shipped by them: no GPL and no AGPL, in the core or in any extra.

The LGPL is allowed: its libraries are loaded dynamically, are not changed and can be exchanged. So are GPL
parts with a linking exception (`WITH`), such as the compiler's run-time library inside the wheels of scipy.
"""

from __future__ import annotations

import importlib.metadata
import re
from email.message import Message
from importlib.metadata import Distribution
from typing import cast

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_COPYLEFT_SPDX = re.compile(r"^A?GPL-")
_COPYLEFT_NAME = re.compile(r"\bA?GPL|\bAffero\b|(?<!Lesser )\bGeneral Public License", re.IGNORECASE)
_LONGEST_NAME = 200
"""Characters of a License field that is a name; longer ones are a licence's text, which may quote others."""


def licence_fault(metadata: Message) -> str | None:
    """Why users could not ship what this metadata describes; None where nothing speaks against it.

    A licence expression decides alone; without one the classifiers do, and without those the License field.
    """
    if expression := metadata.get("License-Expression"):
        return None if _may_be_shipped(expression) else expression
    classifiers = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    if classifiers:
        shippable = [line for line in classifiers if not _COPYLEFT_NAME.search(line)]
        return None if shippable else "; ".join(classifiers)
    field = (metadata.get("License") or "").strip()
    if not field or field == "UNKNOWN":
        return "no licence is stated"
    name = field[:_LONGEST_NAME]
    if re.search(r" (AND|OR|WITH) ", name):
        return None if _may_be_shipped(name) else name
    return name if _COPYLEFT_NAME.search(name) else None


def _may_be_shipped(expression: str) -> bool:
    """Whether an SPDX expression offers a choice without the GPL and the AGPL: OR chooses, AND adds up."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)
    position = 0

    def alternatives() -> bool:
        nonlocal position
        allowed = additions()
        while position < len(tokens) and tokens[position].upper() == "OR":
            position += 1
            allowed = additions() or allowed
        return allowed

    def additions() -> bool:
        nonlocal position
        allowed = licence()
        while position < len(tokens) and tokens[position].upper() == "AND":
            position += 1
            allowed = licence() and allowed
        return allowed

    def licence() -> bool:
        nonlocal position
        token = tokens[position]
        position += 1
        if token == "(":
            allowed = alternatives()
            position += 1
            return allowed
        excepted = position < len(tokens) and tokens[position].upper() == "WITH"
        position += 2 * excepted
        return excepted or not _COPYLEFT_SPDX.match(token)

    return alternatives()


def closure(root: str, extras: set[str]) -> dict[str, Distribution | None]:
    """What installing `root[extras]` brings here, by canonical name; None for what is not installed."""
    found: dict[str, Distribution | None] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(root), extra) for extra in ("", *sorted(extras))]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
            continue
        found[name] = distribution
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                required = canonicalize_name(requirement.name)
                waiting += [(required, wanted) for wanted in ("", *requirement.extras)]
    return found


def our_extras() -> set[str]:
    return set(importlib.metadata.metadata("lowdose").get_all("Provides-Extra", []))


def faults(distributions: dict[str, Distribution | None]) -> dict[str, str]:
    stated = {
        name: licence_fault(cast("Message", found.metadata))
        for name, found in distributions.items()
        if found is not None and not _is_a_list(found)
    }
    return {name: fault for name, fault in stated.items() if fault is not None}


def _is_a_list(distribution: Distribution) -> bool:
    """Whether it only names others and holds nothing itself, as `cuda-toolkit` beside torch for CUDA."""
    files = distribution.files
    return files is not None and all(path.parts[0].endswith(".dist-info") for path in files) and bool(files)


def made_up(**fields: str | list[str]) -> Message:
    message = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    "fields",
    [
        {"License_Expression": "GPL-3.0-or-later"},
        {"License_Expression": "MIT AND (AGPL-3.0-only OR GPL-2.0-only)"},
        {"Classifier": "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"},
        {"Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"},
        {"License": "GPLv3"},
        {"License": "GNU AGPL v3"},
        {"License": "MIT AND GPL-2.0-only"},
        {"License": "GNU General Public License, version 3\n" + "of the text " * 100},
        {"License": "UNKNOWN"},
        {},
    ],
)
def test_copyleft_and_silence_are_faults(fields: dict[str, str]) -> None:
    assert licence_fault(made_up(**fields)) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"License_Expression": "BSD-3-Clause AND MIT"},
        {"License_Expression": "LGPL-2.1-or-later"},
        {"License_Expression": "GPL-3.0-only OR MIT"},
        {"License_Expression": "BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1"},
        {"License_Expression": "MIT", "License": "GPL"},
        {"Classifier": "License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)"},
        {"Classifier": ["License :: OSI Approved :: MIT License", "Programming Language :: Python"]},
        {
            "Classifier": [
                "License :: OSI Approved :: MIT License",
                "License :: OSI Approved :: GNU General Public License (GPL)",
            ]
        },
        {"License": "LGPL-3.0"},
        {"License": "MIT License"},
        {"License": "BSD 3-Clause\n" + "text " * 100 + "GPL-3.0-or-later WITH GCC-exception-3.1"},
    ],
)
def test_permissive_lesser_and_excepted_licences_are_none(fields: dict[str, str]) -> None:
    assert licence_fault(made_up(**fields)) is None


def test_the_core_holds_nothing_gpl_and_everything_states_its_licence() -> None:
    core = closure("lowdose", set())
    assert {"numpy", "pydicom", "openvino", "openvino-telemetry", "llvmlite"} <= set(core)
    assert [name for name, found in core.items() if found is None] == []
    assert faults(core) == {}


def test_only_what_holds_nothing_needs_no_licence() -> None:
    lists = [name for name, found in closure("lowdose", our_extras()).items() if found and _is_a_list(found)]
    assert set(lists) <= {"cuda-toolkit"}


def test_the_installed_extras_hold_nothing_gpl() -> None:
    with_extras = closure("lowdose", our_extras())
    assert "torch" in with_extras
    assert faults(with_extras) == {}


def test_the_core_needs_no_torch() -> None:
    assert set(closure("lowdose", set())).isdisjoint(
        {"torch", "torchvision", "monai", "lightning", "pytorch-lightning", "onnx", "onnxruntime"}
    )


def test_the_gpl_jpeg_codec_is_neither_required_nor_installed() -> None:
    everything = closure("lowdose", our_extras())
    assert "pylibjpeg" in everything
    assert "pylibjpeg-libjpeg" not in everything
    installed = {canonicalize_name(found.name) for found in importlib.metadata.distributions()}
    assert "pylibjpeg-libjpeg" not in installed
