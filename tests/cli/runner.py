"""The command line called in this process, as a shell would call it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from lowdose.cli import app


class Outcome(NamedTuple):
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it must be, without NaN or infinity."""
        return json.loads(self.out, parse_constant=_refused)

    @property
    def error(self) -> str:
        """The one sentence of an error; there must be exactly one, and no traceback."""
        (line,) = (line for line in self.err.splitlines() if line.startswith("error: "))
        assert "Traceback" not in self.err
        return line.removeprefix("error: ")


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def lowdose(*words: object) -> Outcome:
    """Run `lowdose WORDS...`; what the program doesn't handle itself is raised here."""
    result = CliRunner().invoke(app, [str(word) for word in words], prog_name="lowdose")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def everything_below(folder: Path) -> dict[str, bytes]:
    """The content of every file, hidden ones too, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
