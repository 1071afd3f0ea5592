"""`lowdose methods`: what can denoise, and the card of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lowdose.models.card import ModelCard


def methods(
    name: Annotated[str | None, typer.Argument(help="A method, or a model folder: show its card.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """List the shipped models and filters, or show one model's card."""
    from lowdose.cli.terminal import give_up, print_json, refuse
    from lowdose.denoising import METHOD_SUMMARIES, MethodError, model_folder
    from lowdose.models.card import ModelError, bundled_models, load_card

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
        card = load_card(model_folder(name))
    except (MethodError, ModelError) as error:
        refuse(str(error))
    if as_json:
        print_json(card.model_dump(mode="json"))
    else:
        typer.echo(card_as_text(card))


def card_as_text(card: ModelCard) -> str:
    """A model card for reading in a terminal."""
    lowest, highest = card.trained_range_hu
    lines = [
        f"{card.name} {card.version}: {card.summary}",
        "",
        f"  architecture     {card.architecture} {card.sizes}",
        f"  dose gain        {card.dose_gain:g}",
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
    for metric in card.metrics:
        interval = f" ({metric.interval[0]:g} to {metric.interval[1]:g})" if metric.interval else ""
        value = f"{metric.value:g} {metric.unit}".strip()
        lines.append(f"    {metric.name}: {value}{interval}; {metric.protocol}")
    lines += ["", "  known limits", *(f"    {limit}" for limit in card.known_limits), "", "  data"]
    for item in card.data:
        patients = "1 patient" if item.patients == 1 else f"{item.patients} patients"
        lines.append(
            f"    {item.use}: {item.name}, {patients}, {item.slices} slices, {item.licence}; {item.citation}"
        )
    return "\n".join(lines)
