"""How a phantom lies in a scan: what turns a place in its layout into a place in an image."""

from __future__ import annotations

from dataclasses import dataclass

from lowdose.phantoms.layout import Module, Region, polar_place


@dataclass(frozen=True)
class Pose:
    """Axis, turn and position of a phantom in a stack of slices.

    In-plane places are (y, x) in mm from the middle of an image's first pixel; heights are in mm along the
    stack from the middle of its first slice.
    """

    centre: tuple[float, float]
    """Where the phantom's axis meets the first slice."""
    lean: tuple[float, float] = (0.0, 0.0)
    """By how many mm the axis moves along (y, x) from one mm to the next."""
    height: float = 0.0
    """Of the layout's z = 0."""
    angle: float = 0.0
    """Degrees by which the phantom is turned from +x towards +y."""
    mirrored: bool = False
    """Whether the slices show it from its other side: left and right change places."""
    upwards: bool = True
    """Whether the layout's z grows along the stack."""

    def axis_at(self, height: float) -> tuple[float, float]:
        """Where the axis is at a height."""
        return self.centre[0] + self.lean[0] * height, self.centre[1] + self.lean[1] * height

    def height_of(self, z: float) -> float:
        """The height of `z` mm in the layout."""
        return self.height + (z if self.upwards else -z)

    def turned(self, angle: float) -> float:
        """An angle of the layout, in degrees, as the image has it."""
        return self.angle + (180.0 - angle if self.mirrored else angle)

    def place(self, distance: float, angle: float, height: float) -> tuple[float, float]:
        """The place in the image of something at `distance` mm from the axis and an angle of the layout."""
        y, x = polar_place(distance, self.turned(angle))
        axis = self.axis_at(height)
        return axis[0] + y, axis[1] + x

    def place_of(self, region: Region, height: float) -> tuple[float, float]:
        """The place of a region's centre in the image."""
        return self.place(region.distance, region.angle, height)

    def slices_of(
        self, module: Module, n_slices: int, spacing: float, margin: float = 0.0
    ) -> tuple[int, ...]:
        """The slices that lie in a module by their whole thickness `spacing` and `margin` mm more on each
        side; of a module too thin for that, the one nearest to its middle. Empty if the scan does not reach
        it.
        """
        middle = self.height_of(module.z)
        reach = module.depth / 2 - spacing / 2 - margin
        inside = tuple(z for z in range(n_slices) if abs(z * spacing - middle) <= reach + 1e-6)
        nearest = round(middle / spacing)
        if inside or not 0 <= nearest < n_slices:
            return inside
        return (nearest,) if abs(nearest * spacing - middle) <= module.depth / 2 else ()
