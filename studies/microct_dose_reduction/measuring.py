"""Measuring: every method on the phantom and on the test mice, one file each in the work folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import comparators
import measures
import numpy as np
from measures import Ladder, Sections, Truth
from numpy.typing import NDArray
from scans import SPARE_REPEAT, Bench, Mouse, read_volume, write_volume

from lowdose.denoising import denoise
from lowdose.models.denoiser import ModelDenoiser
from lowdose.phantoms.acquisition import PhantomScanner
from lowdose.phantoms.microct_phantom import MICRO_CT
from lowdose.phantoms.twins import twin
from lowdose.provenance import write_json
from lowdose.scan import Scan

Volume = NDArray[np.float32]
Denoiser = Callable[[Volume], Volume]

LOW, HIGH, TV = "low dose", "higher dose", "iterative TV"
NETWORKS = ("2-D U-Net", "3-D U-Net")
REFERENCE = NETWORKS[0]
"""Whose noise all comparators are set to leave."""
METHODS = (LOW, HIGH, *comparators.FILTERS, TV, *NETWORKS)
READERS_RUNGS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Doses over the low one that readers will be shown."""
RUNGS = (*READERS_RUNGS, 16.0, 32.0, 64.0)
_PHANTOM_SEED = 100
_EDGE = 5
"""Slices on either side of those in which a match is measured: filters along z reach into them."""
_SLAB = 24
"""Slices on which methods are set."""
_TV_START = 30.0


def network(folder: Path, spacing: float) -> Denoiser:
    """The model in `folder` as a function of volumes in HU."""
    model = ModelDenoiser(folder)
    return lambda volume: denoise(Scan.from_array(volume, spacing=(spacing,) * 3), model).hu


@dataclass(frozen=True)
class Repeats:
    """How often the phantom is scanned, and for how many of them projections are reconstructed again."""

    filters: int = 6
    tv: int = 3
    rung: int = 2


class PhantomScans:
    """The scans of the phantom, made when they are first asked for and kept in the work folder."""

    def __init__(self, bench: Bench, work: Path) -> None:
        self.bench, self.folder = bench, work / "phantom"
        self.scanner = PhantomScanner(twin(MICRO_CT), bench.protocol(0.0), seed=_PHANTOM_SEED)
        self.sections = Sections(bench.grid())

    def _kept(self, name: str, make: Callable[[], Scan]) -> Volume:
        path = self.folder / f"{name}.nii"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(make(), path)
        return read_volume(path)

    def low(self, repeat: int) -> Volume:
        return self._kept(f"low-{repeat}", lambda: self.scanner.scan(self.bench.low, repeat))

    def high(self, repeat: int) -> Volume:
        return self._kept(f"high-{repeat}", lambda: self.scanner.scan(self.bench.high, repeat))

    @cached_property
    def noise_free(self) -> Volume:
        return self._kept("noise-free", self.scanner.noise_free)


def truth_of(mouse: Mouse, work: Path) -> Truth:
    folder = work / "scans" / mouse.name
    names = tuple(json.loads((folder / "facts.json").read_text())["labels"])
    noise_free, exact, labels = (read_volume(folder / f"{n}.nii") for n in ("noise-free", "truth", "labels"))
    return Truth(noise_free, exact, labels.astype(np.uint8), names, (mouse.bench.voxel,) * 3)


class Measuring:
    """All that this stage does, in an order in which a rerun goes on where it was stopped.

    Scans are in `work`, what is measured goes to `out`, which belongs to the `networks` and no others.
    """

    def __init__(
        self,
        bench: Bench,
        work: Path,
        out: Path,
        networks: Mapping[str, Denoiser],
        repeats: Repeats = Repeats(),
    ) -> None:
        self.bench, self.work, self.networks, self.repeats = bench, work, networks, repeats
        self.out = out
        self.phantom = PhantomScans(bench, work)
        self.slab = min(_SLAB, bench.shape[0] - 2 * _EDGE)

    def run(self) -> None:
        self.once("ladder-phantom", self.phantom_ladder)
        for mouse in self.bench.of_split("test"):
            self.once(f"ladder-{mouse.name}", lambda mouse=mouse: self.mouse_ladder(mouse))
        on_phantom = self.once("settings-phantom", self.settings_on_phantom)
        on_mouse = self.once("settings-mouse", self.settings_on_mouse)
        for name in METHODS:
            self.once(f"phantom-{name}", lambda name=name: self.on_phantom(name, on_phantom))
        for mouse in self.bench.of_split("test"):
            for name in METHODS:
                self.once(
                    f"{mouse.name}-{name}",
                    lambda mouse=mouse, name=name: self.on_mouse(mouse, name, on_mouse),
                )

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What is in the file `name`, made and written if it is not there."""
        path = self.out / f"{name.replace(' ', '-')}.json"
        if not path.is_file():
            started = time.monotonic()
            write_json(path, make())
            print(f"measured in {time.monotonic() - started:.0f} s: {name}", flush=True)
        return json.loads(path.read_text())

    # --- ladders of doses ---------------------------------------------------------------------------------

    def phantom_ladder(self) -> dict[str, Any]:
        sections, rungs = self.phantom.sections, []
        uniform, rods = sections.slices("uniformity"), sections.slices("sensitometry")
        for factor in RUNGS:
            volumes = [
                self.phantom.scanner.scan(factor * self.bench.low, SPARE_REPEAT + k).hu
                for k in range(self.repeats.rung)
            ]
            cnrs = {
                rod.name: measures.rod_contrast(
                    [volume[rods] for volume in volumes], self.phantom.noise_free[rods], rod, sections
                )["cnr"]
                for rod in measures.rods()
            }
            noise = measures.noise_between([volume[uniform] for volume in volumes], sections.flat)
            rungs.append({"factor": factor, "noise": noise, "cnr": cnrs})
        return {"rungs": rungs, "repeats": self.repeats.rung}

    def mouse_ladder(self, mouse: Mouse) -> dict[str, Any]:
        truth, rungs = truth_of(mouse, self.work), []
        for factor in RUNGS:
            image = mouse.scanner.scan(factor * self.bench.low, SPARE_REPEAT).hu
            rungs.append({
                "factor": factor,
                "noise": measures.error_noise(image, truth),
                "cnr": {"fat": measures.finite(measures.cnr_of_fat(image, truth))},
            })  # fmt: skip
        return {"rungs": rungs}

    # --- setting every method to the noise of the 2-D network ---------------------------------------------

    def settings_on_phantom(self) -> dict[str, Any]:
        """From the uniform section; the noise is that between the first scans."""
        sections = self.phantom.sections
        inner = sections.slices("uniformity")
        block = slice(max(0, inner.start - _EDGE), inner.stop + _EDGE)
        core = slice(inner.start - block.start, inner.stop - block.start)

        def noise(volumes: Sequence[Volume]) -> float:
            return measures.noise_between([volume[core] for volume in volumes], sections.flat)

        wholes = [self.phantom.low(k) for k in range(2)]
        target = noise([self.networks[REFERENCE](whole)[block] for whole in wholes])
        found = comparators.matched_filters([whole[block] for whole in wholes], noise, target)

        tv, n_z = comparators.IterativeTv(self.bench, self.slab), self.bench.shape[0]
        first = (n_z - self.slab) // 2
        here = slice(max(inner.start - first, 0), min(inner.stop - first, self.slab))
        sinograms = [comparators.projections(self.phantom.scanner, self.bench.low, k) for k in range(2)]
        apodisation = self.phantom.scanner.protocol.apodisation
        found[TV] = comparators.matched_strength(
            lambda strength: [tv(*pair, strength, apodisation)[here] for pair in sinograms],
            lambda volumes: measures.noise_between(volumes, sections.flat), target, _TV_START,
        )  # fmt: skip
        return {"target": target, "noise": noise([whole[block] for whole in wholes]), "settings": found}

    def settings_on_mouse(self) -> dict[str, Any]:
        """From the middle of the first validation mouse; the noise is that of the error."""
        mouse = self.bench.of_split("validation")[0]
        n_slices = self.slab + 2 * _EDGE
        whole = truth_of(mouse, self.work)
        truth = whole.slab(self.slab)
        first = (self.bench.shape[0] - n_slices) // 2
        low = read_volume(self.work / "scans" / mouse.name / "low.nii")

        def noise(volumes: Sequence[Volume]) -> float:
            return measures.error_noise(volumes[0][_EDGE:-_EDGE], truth)

        block = low[first : first + n_slices]
        target = noise([self.networks[REFERENCE](low)[first : first + n_slices]])
        found = comparators.matched_filters([block], noise, target)
        tv = comparators.IterativeTv(self.bench, self.slab)
        pair = comparators.projections(mouse.scanner, self.bench.low, 0)
        apodisation = mouse.scanner.protocol.apodisation
        found[TV] = comparators.matched_strength(
            lambda strength: [tv(*pair, strength, apodisation)],
            lambda volumes: measures.error_noise(volumes[0], truth), target, _TV_START,
        )  # fmt: skip
        return {"mouse": mouse.name, "target": target, "noise": noise([block]), "settings": found}

    # --- every method -------------------------------------------------------------------------------------

    def on_phantom(self, name: str, matched: dict[str, Any]) -> dict[str, Any]:
        settings = matched["settings"].get(name, {})
        n_repeats = self.repeats.tv if name == TV else self.repeats.filters
        scanner = self.phantom.scanner
        if name == HIGH:
            volumes = [self.phantom.high(k) for k in range(n_repeats)]
        elif name == TV:
            volumes = [self.reconstructed(scanner, k, settings["strength"]) for k in range(n_repeats)]
        else:
            apply = self.image_method(name, settings)
            volumes = [apply(self.phantom.low(k)) for k in range(n_repeats)]
        self.keep_picture(f"phantom-{name}", volumes[0])
        measured = measures.phantom_measures(volumes, self.phantom.noise_free, self.phantom.sections)
        return {"settings": settings, **measured}

    def on_mouse(self, mouse: Mouse, name: str, matched: dict[str, Any]) -> dict[str, Any]:
        settings = matched["settings"].get(name, {})
        folder = self.work / "scans" / mouse.name
        if name == HIGH:
            image = read_volume(folder / "high.nii")
        elif name == TV:
            image = self.reconstructed(mouse.scanner, 0, settings["strength"])
        else:
            image = self.image_method(name, settings)(read_volume(folder / "low.nii"))
        self.keep_picture(f"{mouse.name}-{name}", image)
        return {"settings": settings, **measures.mouse_measures(image, truth_of(mouse, self.work))}

    def image_method(self, name: str, settings: comparators.Settings) -> Denoiser:
        """What is applied to a reconstruction at the low dose."""
        if name == LOW:
            return lambda volume: volume
        return self.networks[name] if name in self.networks else comparators.filter_of(name, settings)

    def reconstructed(self, scanner: PhantomScanner, repeat: int, strength: float) -> Volume:
        tv = comparators.IterativeTv(self.bench, self.bench.shape[0])
        pair = comparators.projections(scanner, self.bench.low, repeat)
        return tv(*pair, strength, scanner.protocol.apodisation)

    def keep_picture(self, name: str, volume: Volume) -> None:
        """The whole image in 16 bits, for the figure and for readers."""
        path = self.out / "images" / f"{name.replace(' ', '-')}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.save(file, np.rint(volume).astype(np.int16))


def ladders_of(record: dict[str, Any]) -> dict[str, Ladder]:
    """The fitted ladders of `noise` and of every `cnr NAME` of one object."""
    rungs = record["rungs"]
    factors = [rung["factor"] for rung in rungs]
    found = {"noise": measures.fitted_ladder(factors, [rung["noise"] ** 2 for rung in rungs])}
    for name in rungs[0]["cnr"]:
        cnrs = [rung["cnr"][name] for rung in rungs]
        if all(cnrs):
            found[f"cnr {name}"] = measures.fitted_ladder(factors, [cnr**-2 for cnr in cnrs])
    return found
