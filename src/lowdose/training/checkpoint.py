"""Checkpoints: one file, written whole or not at all, that says itself whether it is what was written.

A line of JSON with the SHA-256 of the rest and what was trained, then torch's own format without any code.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch

from lowdose.provenance import written_whole

CHECKPOINT = "checkpoint.pt"


class CheckpointError(Exception):
    """One sentence: which checkpoint, what is wrong with it, what to do."""


def write_checkpoint(path: Path, state: dict[str, Any], architecture: dict[str, Any]) -> None:
    """Write `state` to `path`; a process killed at any moment leaves the old file or the new one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    header = {"sha256": hashlib.sha256(content).hexdigest(), "architecture": architecture}
    with written_whole(path) as temporary, temporary.open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.write(content)


def read_checkpoint(path: Path, architecture: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The state in `path`; CheckpointError if it is damaged or of another architecture."""
    try:
        first, content = path.read_bytes().split(b"\n", 1)
        header = json.loads(first)
        digest, trained = header["sha256"], header["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of lowdose ({error}); start anew without it"
        ) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise CheckpointError(
            f"{path}: does not match its own SHA-256, so it is damaged; remove it to start anew"
        )
    wanted = json.loads(json.dumps(architecture))
    if trained != wanted:
        key = next(key for key in {**wanted, **trained} if trained.get(key) != wanted.get(key))
        raise CheckpointError(
            f"{path}: is of another architecture ({key} is {trained.get(key)}, the plan says "
            f"{wanted.get(key)}); go on with its own plan, or give another --out"
        )
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    return state
