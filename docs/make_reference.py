"""Write docs/reference/cli.md from the command line itself; `--check` only says whether it is up to date."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from typer.main import get_command

from lowdose.cli import app

# Only what every version of typer says about a parameter is used, so that the page does not depend on it.
PAGE = Path(__file__).parent / "reference" / "cli.md"

OPENING = """\
<!-- Written by docs/make_reference.py from the program; `make reference` writes it again. -->

# Command line

Every command ends with exit status 0 when all cases are done, 1 when some failed (each is named with its
reason), 2 when it was called wrongly. Every output has a `run.json` beside it.
"""


def page() -> str:
    """The whole page."""
    group: Any = get_command(app)
    contents = [
        f"- [`lowdose {name}`](#lowdose-{name.replace(' ', '-')}): {first_sentence(command)}"
        for name, command in shown(group)
    ]
    sections = [section(name, command) for name, command in shown(group)]
    return "\n\n".join([OPENING + "\n" + "\n".join(contents), *sections]) + "\n"


def shown(group: Any) -> list[tuple[str, Any]]:
    """Every command and its name; those of a group are called by both names."""
    found = []
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            found += [(f"{name} {part}", one) for part, one in shown(command)]
        else:
            found.append((name, command))
    return found


def section(name: str, command: Any) -> str:
    """One command: what it does, how it is called, its arguments and its options."""
    path = f"lowdose {name}"
    arguments = [p for p in command.params if p.param_type_name == "argument" and not p.hidden]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join([path, *(argument_name(p) for p in arguments), *(["[OPTIONS]"] if options else [])])
    parts = [f"## {path}", inspect.cleandoc(command.help or ""), f"```text\n{usage}\n```"]
    if arguments:
        rows = [f"| `{argument_name(p)}` | {cell(p.help)} |" for p in arguments]
        parts.append("\n".join(["| argument | meaning |", "|---|---|", *rows]))
    if options:
        rows = [f"| {option_name(p)} | {cell(p.help)} | {default(p)} |" for p in options]
        parts.append("\n".join(["| option | meaning | default |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def first_sentence(command: Any) -> str:
    text = " ".join((command.help or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", text)[0]


def argument_name(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper()).strip("[]")
    name += "..." if parameter.nargs == -1 and not name.endswith("...") else ""
    return name if parameter.required else f"[{name}]"


def option_name(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return ", ".join(f"`{name}{value}`" for name in names)


def default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or value is False or callable(value) or value in ((), [], ""):
        return ""
    if value is True:
        return f"`{parameter.opts[0]}`"
    values = value if isinstance(value, (tuple, list)) else [value]
    return f"`{' '.join(str(getattr(v, 'value', v)) for v in values)}`"


def cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit status 1 if the page is stale"
    )
    wanted = page()
    if not parser.parse_args().check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(wanted, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != wanted:
        sys.exit(f"{PAGE.name} does not describe the commands any more: run `make reference`.")


if __name__ == "__main__":
    main()
