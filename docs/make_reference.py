"""Write the pages of docs/reference from the program; `--check` only says whether they are up to date."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from typer.main import get_command

from lowdose.cli import app

REFERENCE = Path(__file__).parent / "reference"

OPENING = """\
<!-- Written by docs/make_reference.py from the program; `make reference` writes it again. -->

# Command line

Every command ends with exit status 0 when all cases are done, 1 when some failed (each is named with its
reason), 2 when it was called wrongly. Every output has a `run.json` beside it.
"""


NETWORKS_OPENING = """\
<!-- Written by docs/make_reference.py from the program; `make reference` writes it again. -->

# Networks

Every network can be trained with its own plan, `lowdose train --template NAME`, in any width, and becomes a
model folder that `lowdose denoise` runs. All take and give scaled HU; the names, sizes and critics are what a
plan may say.
[How to train](../how-to/train-a-model.md).
"""


# Only what every version of typer says about a parameter is used, so that the page does not depend on it.
def command_line_page() -> str:
    """Every command, argument and option."""
    group: Any = get_command(app)
    contents = [
        f"- [`lowdose {name}`](#lowdose-{name.replace(' ', '-')}): {first_sentence(command)}"
        for name, command in shown(group)
    ]
    sections = [section(name, command) for name, command in shown(group)]
    return "\n\n".join([OPENING + "\n" + "\n".join(contents), *sections]) + "\n"


def shown(group: Any) -> list[tuple[str, Any]]:
    """Every command and its name; those of a group are called by both names, some by its own as well."""
    found = []
    for name, command in group.commands.items():
        if command.hidden:
            continue
        parts = shown(command) if hasattr(command, "commands") else []
        if not parts or command.invoke_without_command:
            found.append((name, command))
        found += [(f"{name} {part}", one) for part, one in parts]
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


def networks_page() -> str:
    """Every network and critic with its sizes and how many numbers it learns."""
    import torch

    from lowdose.cli.train import template_text
    from lowdose.losses import PIXEL_LOSSES
    from lowdose.networks import NETWORKS
    from lowdose.networks.critics import CRITICS

    torch.manual_seed(0)
    rows = []
    for name, architecture in sorted(NETWORKS.items()):
        network = architecture()
        sees = "volumes" if network.dimensions == 3 else "slices"
        if network.context:
            sees = f"{1 + 2 * network.context} slices, gives the middle one"
        elif "context" in inspect.signature(architecture).parameters:
            sees += ", with `context` their neighbours"
        if network.levels > 1:
            sees += f", in {network.levels} strengths"
        method = re.search(r"^method: (.*)$", template_text(name) or "", re.MULTILINE)
        rows.append(
            [f"`{name}`", what_it_is(architecture), sees, str(network.multiple), sizes(architecture),
             f"{n_learnt(network):,}", method.group(1) if method else ""]
        )  # fmt: skip
    header = ["network", "what it is", "sees", "multiples of", "sizes", "numbers learnt", "trained"]
    critics = [
        [f"`{name}`", what_it_is(critic), sizes(critic), f"{n_learnt(critic()):,}"]
        for name, critic in sorted(CRITICS.items())
    ]
    losses = ", ".join(f"`{name}`" for name in PIXEL_LOSSES)
    return (
        "\n\n".join(
            [
                NETWORKS_OPENING.rstrip(),
                table(header, rows),
                "## Critics",
                table(["critic", "what it is", "sizes", "numbers learnt"], critics),
                "## Losses",
                f"Between images: {losses}. Beside them a distance of features, of the encoder of CT that "
                "comes with lowdose or of VGG19 from a file of your own.",
            ]
        )
        + "\n"
    )


def what_it_is(architecture: Any) -> str:
    """The first sentence about it."""
    text = inspect.getdoc(inspect.getmodule(architecture)) or ""
    return cell(text.split("\n\n")[0]).removesuffix(".")


def sizes(architecture: Any) -> str:
    known = inspect.signature(architecture).parameters.values()
    return ", ".join(f"`{one.name}` {one.default}" for one in known).replace("|", "\\|")


def n_learnt(network: Any) -> int:
    return sum(weight.numel() for weight in network.parameters())


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


PAGES = {"cli.md": command_line_page, "networks.md": networks_page}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit status 1 if a page is stale"
    )
    check = parser.parse_args().check
    REFERENCE.mkdir(exist_ok=True)
    for name, made in PAGES.items():
        page, wanted = REFERENCE / name, made()
        if not check:
            page.write_text(wanted, encoding="utf-8")
        elif not page.is_file() or page.read_text(encoding="utf-8") != wanted:
            sys.exit(f"{name} does not describe the program any more: run `make reference`.")


if __name__ == "__main__":
    main()
