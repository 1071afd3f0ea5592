"""Running a network without torch: OpenVINO on the CPU. The only importer of openvino."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# On import openvino reports to its makers through this package; without it, it uses its silent stand-in.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402

# Its binding looks for numpy when the first array crosses, holding a lock of C++ while Python may go on in
# another thread. Two first inferences at once then wait for each other for ever: so one crosses here.
openvino.Tensor(np.zeros(1, np.float32)).data.sum()

Images = NDArray[np.float32]


class NetworkError(Exception):
    """What is wrong with a network, as the end of a sentence."""


class OpenVinoNetwork:
    """An ONNX network with one input and one output, float32 `(b, c, y, x)` or `(b, c, z, y, x)`, compiled
    for the shape at hand.
    """

    def __init__(self, onnx_file: Path, *, n_streams: int = 1) -> None:
        self._core = openvino.Core()
        self._settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": str(n_streams)}
        self._streams = threading.local()
        self._model = self._core.read_model(onnx_file)
        self._compiled: dict[tuple[int, ...], openvino.CompiledModel] = {}
        self._lock = threading.Lock()

    def __call__(self, images: Images) -> Images:
        """The network's output for `images`, a new array."""
        with self._lock:
            compiled = self._compiled.get(images.shape)
            if compiled is None:
                compiled = self._compile(images.shape)
                self._compiled = {images.shape: compiled}  # one at a time: each holds its own buffers
        # A request computes one image at a time, so every thread has its own.
        if getattr(self._streams, "compiled", None) is not compiled:
            self._streams.compiled = compiled
            self._streams.request = compiled.create_infer_request()
        output = self._streams.request.infer([np.ascontiguousarray(images)])[0]
        return np.array(output, dtype=np.float32)

    def _compile(self, shape: tuple[int, ...]) -> openvino.CompiledModel:
        model = self._model.clone()
        model.reshape(list(shape))
        return self._core.compile_model(model, "CPU", self._settings)


Lengths = tuple[int | None, ...]
"""Of the axes of an array; None where any will do."""


def shapes_of(onnx_file: Path) -> tuple[Lengths | None, Lengths | None]:
    """The shapes that a network takes and gives, None where it does not say even how many axes.

    NetworkError if the file is no network with one input and one output of float32.
    """
    try:
        model = openvino.Core().read_model(onnx_file)
    except RuntimeError:
        raise NetworkError("cannot be read as an ONNX network") from None
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise NetworkError(
            f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs, where one of each is run"
        )
    if any(port.get_element_type() != openvino.Type.f32 for port in (*model.inputs, *model.outputs)):
        raise NetworkError("takes or gives numbers that are not float32")
    shown, given = (_lengths(port.get_partial_shape()) for port in (model.inputs[0], model.outputs[0]))
    return shown, given


def tried(onnx_file: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what the network makes of zeros of `shape`. NetworkError if it cannot."""
    try:
        return OpenVinoNetwork(onnx_file)(np.zeros(shape, np.float32)).shape
    except RuntimeError:
        sides = " x ".join(map(str, shape[2:]))
        raise NetworkError(f"fails on images of {sides}") from None


def _lengths(shape: openvino.PartialShape) -> Lengths | None:
    if shape.rank.is_dynamic:
        return None
    return tuple(None if length.is_dynamic else length.get_length() for length in shape)


def device_name() -> str:
    """The processor that networks run on."""
    return str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"))
