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


class OpenVinoNetwork:
    """An ONNX network with one input and one output, float32 `(b, c, y, x)`, compiled for the shape at
    hand.
    """

    def __init__(self, onnx_file: Path, *, n_streams: int = 1) -> None:
        self._core = openvino.Core()
        self._settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": str(n_streams)}
        self._streams = threading.local()
        self._model = self._core.read_model(onnx_file)
        self._compiled: dict[tuple[int, ...], openvino.CompiledModel] = {}
        self._lock = threading.Lock()

    def __call__(self, images: Images) -> Images:
        """The network's output for `images` `(b, c, y, x)`, a new array."""
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


def device_name() -> str:
    """The processor that networks run on."""
    return str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"))
