"""Digital twins: the solids of a test object, from the layout that also says where it is measured."""

from __future__ import annotations

from lowdose.phantoms.layout import Bars, Insert, Layout, Module, Pin
from lowdose.phantoms.phantom import Finding, Phantom
from lowdose.phantoms.primitives import Solid, box, turned, upright_cylinder


def twin(layout: Layout) -> Phantom:
    """The phantom of `layout`, its axis along z."""
    first, last = layout.extent
    radius, middle = layout.diameter / 2, (first + last) / 2
    solids = [
        upright_cylinder(
            "housing", layout.housing_hu, (middle, 0.0, 0.0), (radius, radius), (last - first) / 2
        )
    ]
    findings: list[Finding] = []
    for module in layout.modules:
        solids += _module_solids(module, layout.bore / 2)
        findings += _module_findings(module)
    return Phantom(layout.name, layout.title, tuple(solids), tuple(findings))


def _module_solids(module: Module, radius: float) -> list[Solid]:
    half = module.depth / 2
    solids = [upright_cylinder(module.name, module.hu, (module.z, 0.0, 0.0), (radius, radius), half)]
    rods: tuple[Insert | Pin, ...] = (*module.inserts, *module.pins)
    for rod in rods:
        size = rod.diameter / 2, rod.diameter / 2
        solids.append(upright_cylinder(rod.name, rod.hu, (module.z, *rod.place), size, half))
    for group in module.bars:
        solids += _bars(module, group)
    return solids


def _bars(module: Module, group: Bars) -> list[Solid]:
    """The bars of a group, side by side across the radius."""
    frame = turned(group.angle)
    (_, across_y, across_x), (y, x) = frame[1], group.place
    halves = group.depth / 2, group.width / 2, group.length / 2
    steps = [2 * group.width * (k - (group.n_bars - 1) / 2) for k in range(group.n_bars)]
    places = [(module.z, y + step * across_y, x + step * across_x) for step in steps]
    return [box(group.name, group.hu, place, halves, frame) for place in places]


def _module_findings(module: Module) -> list[Finding]:
    rods = [
        Finding(
            insert.name,
            "insert",
            (module.z, *insert.place),
            (module.depth, insert.diameter, insert.diameter),
            insert.hu,
            module.hu,
        )
        for insert in module.inserts
    ]
    bars = [
        Finding(
            group.name,
            "bars",
            (module.z, *group.place),
            (group.depth, group.extent, group.length),
            group.hu,
            module.hu,
        )
        for group in module.bars
    ]
    return rods + bars
