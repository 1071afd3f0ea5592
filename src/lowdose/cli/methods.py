"""`lowdose methods`: what can denoise, the card of one model, and models made elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowdose.cli.groups import NamesAndCommands

if TYPE_CHECKING:
    from lowdose.models.card import ModelCard


methods = typer.Typer(
    name="methods",
    cls=NamesAndCommands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Scaling(StrEnum):
    """What ldct-benchmark calls the ways in which its networks see HU."""

    meanstd = "meanstd"
    minmax = "minmax"


@methods.callback(subcommand_metavar="")
def show(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A method, a model folder or an ONNX file: show its card."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """List the shipped models and filters, or show one model's card."""
    from lowdose.cli.terminal import give_up, print_json, refuse
    from lowdose.denoising import METHOD_SUMMARIES, MethodError, model_folder
    from lowdose.models.card import ModelError, bundled_models, load_card
    from lowdose.models.denoiser import model_card

    if context.invoked_subcommand is not None:
        return
    if name is None:
        try:
            models = {model: load_card(folder).summary for model, folder in bundled_models().items()}
        except ModelError as error:
            give_up(str(error))
        if as_json:
            print_json({"models": models, "without_weights": METHOD_SUMMARIES})
            return
        for method, summary in {**models, **METHOD_SUMMARIES}.items():
            typer.echo(f"{method:18} {summary}")
        return
    if name in METHOD_SUMMARIES:
        if as_json:
            print_json({"name": name, "summary": METHOD_SUMMARIES[name]})
        else:
            typer.echo(f"{name}: {METHOD_SUMMARIES[name]}")
        return
    try:
        card = model_card(model_folder(name))
    except (MethodError, ModelError) as error:
        refuse(str(error))
    if as_json:
        print_json(card.model_dump(mode="json"))
    else:
        typer.echo(card_as_text(card))


@methods.command("import")
def import_model(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A network: *.onnx, or a checkpoint of ldct-benchmark.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the model.")],
    name: Annotated[
        str | None, typer.Option(help="What the model is called; a small card beside *.onnx may say it.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="For a checkpoint: the network, as ldct-benchmark calls it, for instance redcnn."),
    ] = None,
    scaling: Annotated[
        Scaling | None,
        typer.Option(help="For a checkpoint: how its network sees HU, if the file does not say."),
    ] = None,
    offset_hu: Annotated[
        float | None, typer.Option(help="For *.onnx: the network sees (HU - offset) / scale.")
    ] = None,
    scale_hu: Annotated[
        float | None, typer.Option(help="For *.onnx: the network sees (HU - offset) / scale.")
    ] = None,
) -> None:
    """Make a model folder of a network that was trained elsewhere.

    An ONNX network needs to be told how it sees HU: with options, or with a small card beside it, FILE.json
    or FILE.yaml. Of a checkpoint only weights are read; nothing in it is run.
    """
    from lowdose.cli.terminal import refuse, say
    from lowdose.io.output import OutputError, check_output, whole_folder
    from lowdose.models.card import ModelError
    from lowdose.models.foreign import import_onnx, is_onnx_name, read_small_card, small_card

    onnx = is_onnx_name(file)
    if not file.is_file():
        refuse(f"{file}: not found; give an ONNX file or a checkpoint")
    for option, value, fits in (
        ("--network", network, not onnx),
        ("--scaling", scaling, not onnx),
        ("--offset-hu", offset_hu, onnx),
        ("--scale-hu", scale_hu, onnx),
    ):
        if value is not None and not fits:
            refuse(f"{option} means nothing for {file.name}; leave it out")
    try:
        check_output(out, [file])
        if onnx:
            told = {"name": name, "offset_hu": offset_hu, "scale_hu": scale_hu}
            told = {key: value for key, value in told.items() if value is not None}
            card = small_card({**(read_small_card(file) or {}), **told}, file)
            with whole_folder(out) as folder:
                import_onnx(file, card, folder)
        else:
            if name is None or network is None:
                refuse("give --name and --network: a checkpoint does not say which network it is of")
            with whole_folder(out) as folder:
                _import_checkpoint(file, folder, name, network, scaling)
    except (ModelError, OutputError) as error:
        refuse(str(error))
    say(f"model in {out}; use it with: lowdose denoise INPUT OUTPUT --method {out}")


def _import_checkpoint(file: Path, folder: Path, name: str, network: str, scaling: Scaling | None) -> None:
    """Fill `folder` with the model in a checkpoint of ldct-benchmark. What is wrong with it is wrong use."""
    from lowdose.cli.terminal import give_up, refuse
    from lowdose.models.card import ONNX, WEIGHTS, ModelError
    from lowdose.models.foreign import small_card, write_card
    from lowdose.provenance import sha256_of_file

    try:
        from safetensors.torch import save_file

        from lowdose.training.export import PARITY_HU, bytes_per_voxel, parity, write_onnx
        from lowdose.training.foreign_weights import SCALINGS, ForeignWeightsError, load_ldct_benchmark
    except ModuleNotFoundError as error:
        refuse(f"reading a checkpoint needs {error.name}; install it with: pip install 'lowdose[train]'")
    try:
        made, own_scaling, sizes = load_ldct_benchmark(file, network)
    except ForeignWeightsError as error:
        refuse(str(error))
    chosen = own_scaling if scaling is None else SCALINGS[scaling.value]
    reach = made.reach if made.dimensions == 3 else 0
    try:
        card = small_card(
            {
                "name": name,
                "offset_hu": chosen.offset,
                "scale_hu": chosen.scale,
                "dimensions": made.dimensions,
                "context": made.context,
                "levels": made.levels,
                "multiple": made.multiple,
                "halo": (reach, reach, reach),
                "bytes_per_voxel": bytes_per_voxel(made),
                "summary": f"{network} of ldct-benchmark, trained elsewhere",
                "architecture": network,
                "training": f"by others, with ldct-benchmark (Eulig et al. 2024); imported from {file.name}",
            },
            file,
        )
    except ModelError as error:
        refuse(str(error))
    write_onnx(made, folder / ONNX)
    weights = {key: value.contiguous() for key, value in made.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    difference = parity(made, folder / ONNX, chosen.scale)
    if not difference <= PARITY_HU:
        give_up(f"{file}: the exported network is up to {difference:.3g} HU from the checkpoint")
    digest = sha256_of_file(folder / WEIGHTS)
    write_card(
        card.model_card(folder / ONNX, sizes).model_copy(update={"weights_sha256": digest}),
        folder,
    )


def card_as_text(card: ModelCard) -> str:
    """A model card for reading in a terminal."""
    lowest, highest = card.trained_range_hu
    gain = "not stated" if card.dose_gain is None else f"{card.dose_gain:g}"
    lines = [
        f"{card.name} {card.version}: {card.summary}",
        "",
        f"  architecture     {card.architecture} {card.sizes}",
        f"  sees             {_sees(card)}",
        f"  dose gain        {gain}",
        f"  dose range       {card.dose_range}",
        f"  kernels          {card.kernels}",
        f"  slice thickness  {card.slice_thickness_mm}",
        f"  trained range    {lowest:g} to {highest:g} HU; the rest passes through",
        f"  training         {card.training}",
        f"  network SHA-256  {card.onnx_sha256}",
        f"  licence          {card.licence}",
        "",
        "  measured",
    ]
    if not card.metrics:
        lines.append("    nothing")
    for metric in card.metrics:
        interval = f" ({metric.interval[0]:g} to {metric.interval[1]:g})" if metric.interval else ""
        value = f"{metric.value:g} {metric.unit}".strip()
        lines.append(f"    {metric.name}: {value}{interval}; {metric.protocol}")
    lines += ["", "  known limits", *(f"    {limit}" for limit in card.known_limits)]
    lines += [
        "",
        "  what it ignores",
        *(f"    {one}" for one in card.ignores or (_UNEXPLAINED,)),
        "",
        "  data",
    ]
    if not card.data:
        lines.append("    not stated")
    for item in card.data:
        patients = "1 patient" if item.patients == 1 else f"{item.patients} patients"
        lines.append(
            f"    {item.use}: {item.name}, {patients}, {item.slices} slices, {item.licence}; {item.citation}"
        )
    return "\n".join(lines)


_UNEXPLAINED = "nobody has looked: lowdose explain"


def _sees(card: ModelCard) -> str:
    """What a network is shown at once, in words."""
    if card.dimensions == 3:
        return "volumes"
    return "single slices" if not card.context else f"slices with {card.context} neighbours on either side"
