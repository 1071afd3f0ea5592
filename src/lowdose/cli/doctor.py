"""`lowdose doctor`: what is installed, which device, which models, how fast."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

_EXTRAS = {
    "train": ("torch", "lightning", "safetensors", "onnx", "onnxscript"),
    "detect": ("torchvision",),
    "readers": ("fastapi", "uvicorn", "sqlalchemy", "alembic"),
    "pacs": ("httpx", "pynetdicom"),
    "cluster": ("ray",),
    "gpu": ("onnxruntime-gpu",),
}
"""The packages that an extra brings and the program imports."""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Check the installation: packages, codecs, device, models, and their speed on this machine."""
    from lowdose.cli.terminal import SOME_FAILED, print_json

    found = findings()
    if as_json:
        print_json(found)
    else:
        for title, lines in ((title, lines) for title, lines in found.items() if lines):
            if not lines:
                continue
            typer.echo(title)
            for name, value in lines.items():
                typer.echo(f"  {name:26} {value}")
    if any("missing" in str(value) for value in found["codecs"].values()) or found["problems"]:
        raise typer.Exit(SOME_FAILED)


def findings() -> dict[str, dict[str, Any]]:
    """Everything `doctor` reports, by heading."""
    from lowdose import __version__
    from lowdose.io.codecs import decodable
    from lowdose.io.public_data import default_cache
    from lowdose.models.runtime import device_name
    from lowdose.provenance import package_versions

    models, problems = _models()
    return {
        "lowdose": {
            "version": __version__,
            "python": f"{platform.python_version()} at {sys.executable}",
            "system": f"{platform.system()} {platform.machine()}",
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "device": device_name(),
            "cache": f"{default_cache()} ({_free(default_cache()):.0f} GB free)",
        },
        "packages": package_versions(),
        "extras": {
            extra: "installed"
            if all(map(_is_installed, packages))
            else f"not installed: pip install 'lowdose[{extra}]'"
            for extra, packages in _EXTRAS.items()
        },
        "codecs": {name: "reads" if works else "missing" for name, works in decodable().items()},
        "models": models,
        "problems": problems,
    }


def _models() -> tuple[dict[str, str], dict[str, str]]:
    """Every bundled model with its speed, and every one that cannot be used with the reason."""
    import numpy as np

    from lowdose.models.card import ModelError, bundled_models
    from lowdose.models.denoiser import ModelDenoiser

    models, problems = {}, {}
    for name, folder in bundled_models().items():
        try:
            denoiser = ModelDenoiser(folder)
        except ModelError as error:
            problems[name] = str(error)
            continue
        n_slices, n_times = (16, 1) if denoiser.card.dimensions == 3 else (1, 5)
        image = np.zeros((1, n_slices + 2 * denoiser.context, 512, 512), np.float32)
        denoiser(image)
        started = time.perf_counter()
        for _ in range(n_times):
            denoiser(image)
        pace = n_times * n_slices / (time.perf_counter() - started)
        models[name] = (
            f"{denoiser.card.version}, network {denoiser.card.digest}, {pace:.1f} slices/s of 512 x 512"
        )
    return models, problems


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def _free(folder: Path) -> float:
    """Free space in GB on the disk that holds `folder` or its nearest existing parent."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9
