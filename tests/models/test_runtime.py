from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from lowdose.models.card import bundled_models
from lowdose.models.denoiser import ModelDenoiser
from lowdose.models.runtime import device_name


@pytest.fixture(scope="module")
def denoiser() -> ModelDenoiser:
    return ModelDenoiser(bundled_models()["ct-default"])


def body(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    hu = np.where(y**2 + x**2 < 0.7, 40.0, -1000.0) + generator.normal(0, 25, shape)
    return hu.astype(np.float32)[None, None]


@pytest.mark.parametrize("shape", [(64, 64), (61, 83), (1, 1), (8, 200), (511, 513)])
def test_slices_of_any_size_come_back_in_their_size(denoiser, shape):
    result = denoiser(body(shape))
    assert result.shape == (1, 1, *shape)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()


def test_what_is_added_at_the_edge_does_not_reach_far(denoiser):
    """Pixels farther from the edge than the network sees are the same in a slice and in a part of it."""
    whole = body((264, 264))
    part = whole[:, :, :259, :253]
    assert np.abs(denoiser(part) - denoiser(whole)[:, :, :259, :253])[:, :, :180, :180].max() < 0.01


def test_values_beyond_the_trained_range_pass_through(denoiser):
    hu = body((64, 64))
    hu[0, 0, 20:24, 30:34] = 12000.0
    hu[0, 0, 5, 5] = -2000.0
    result = denoiser(hu)
    assert (result[0, 0, 20:24, 30:34] == 12000.0).all()
    assert result[0, 0, 5, 5] == -2000.0


def test_it_is_the_same_network_in_numpy_batches_of_any_size(denoiser):
    images = np.concatenate([body((48, 56), seed) for seed in range(3)])
    together = denoiser(images)
    alone = np.concatenate([denoiser(image[None]) for image in images])
    assert np.abs(together - alone).max() < 0.01


def test_the_same_input_gives_the_same_bits(denoiser):
    hu = body((120, 96))
    assert denoiser(hu).tobytes() == denoiser(hu).tobytes()


def test_the_device_has_a_name():
    assert device_name().strip()


def test_parallel_loops_do_not_run_on_the_threads_of_the_network(tmp_path):
    program = """
import lowdose, openvino, numpy, numba
openvino.Core().available_devices
@numba.njit(parallel=True)
def total(values):
    sum = 0.0
    for index in numba.prange(values.size):
        sum += values[index]
    return sum
total(numpy.ones(100))
print(numba.threading_layer())
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert ran.stdout.strip() != "tbb", ran.stderr
    assert ran.returncode == 0


FIRST_INFERENCES_AT_ONCE = """
import os, sys, threading
sys.setswitchinterval(1e-6)
import numpy as np
from lowdose.models.card import bundled_models
from lowdose.models.runtime import OpenVinoNetwork
network = OpenVinoNetwork(bundled_models()["ct-default"] / "model.onnx", n_streams=2)
together = threading.Barrier(4)
def infer():
    together.wait()
    network(np.zeros((1, 1, 32, 32), np.float32))
threads = [threading.Thread(target=infer, daemon=True) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
os._exit(0)
"""


@pytest.mark.parametrize("attempt", range(3))
def test_the_first_inferences_of_a_process_may_come_at_once(attempt):
    """Seven of ten attempts stood still for ever before the binding was made ready on import."""
    subprocess.run([sys.executable, "-c", FIRST_INFERENCES_AT_ONCE], check=True, timeout=60)
