"""`lowdose denoise`: a derived series for each CT series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def denoise(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="DICOM folder or file, zip, NIfTI or TIFF stack.")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="New folder, or *.nii / *.nii.gz / *.tif.")
    ],
    method: Annotated[
        str,
        typer.Option(
            help="A name from `lowdose methods`, a model folder, or FILE.onnx with a small card beside it."
        ),
    ] = "ct-default",
    strength: Annotated[
        float,
        typer.Option(
            help="From 0, which changes nothing, to 1, the method's output; in between a linear blend."
        ),
    ] = 1.0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of the method, for instance noise=25 (HU)."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Denoise every CT series of INPUT into a derived series of its own in OUTPUT."""
    from lowdose.cli.cases import Job, Product, finish, run_cases
    from lowdose.cli.derivations import denoising_derivation
    from lowdose.cli.terminal import refuse
    from lowdose.denoising import (
        METHOD_SUMMARIES,
        MethodError,
        check_method,
        denoise,
        make_denoiser,
        model_folder,
    )
    from lowdose.models.card import ModelError
    from lowdose.models.denoiser import model_card
    from lowdose.scan import Scan

    chosen = parsed_settings(settings or [])
    if not 0.0 <= strength <= 1.0:
        refuse(f"--strength is {strength:g}; it must be between 0 and 1")
    try:
        check_method(method, chosen)
        if method not in METHOD_SUMMARIES:
            model_card(model_folder(method))
    except (MethodError, ModelError) as error:
        refuse(str(error))

    def process(scan: Scan) -> Product:
        denoiser = make_denoiser(method, scan, chosen)
        return Product(denoise(scan, denoiser, strength), denoising_derivation(denoiser, strength))

    options = {"input": source, "output": output, "method": method, "strength": strength, "settings": chosen}
    finish(run_cases(Job("denoise", source, output, options, as_json), process))


def parsed_settings(pairs: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` pairs as numbers, or as words for the few settings that are words; a malformed pair ends
    with the status of wrong use.
    """
    from lowdose.cli.terminal import refuse
    from lowdose.denoising import TEXT_SETTINGS

    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key or not text:
            refuse(f"--set {pair}: is not KEY=VALUE, for instance noise=25")
        name = key.replace("-", "_")
        if name in TEXT_SETTINGS:
            settings[name] = text
            continue
        try:
            settings[name] = float(text)
        except ValueError:
            refuse(f"--set {pair}: {text} is not a number")
    return settings
