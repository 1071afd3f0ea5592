from __future__ import annotations

import dataclasses
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from lowdose.provenance import Step
from lowdose.scan import Scan, Slice, in_step, read_ahead, remembering


@pytest.fixture
def scan() -> Scan:
    hu = np.random.default_rng(0).integers(-1000, 1000, (4, 3, 5)).astype(np.float32)
    padding = np.zeros(hu.shape, bool)
    padding[1, 0, 2] = True
    return Scan.from_array(hu, spacing=(2.5, 0.7, 0.5), padding=padding, name="chest")


def test_an_array_becomes_slices(scan):
    assert (scan.name, scan.shape, len(scan)) == ("chest", (4, 3, 5), 4)
    assert scan.hu.dtype == np.float32
    for z, slice_ in enumerate(scan):
        assert np.array_equal(slice_.hu, scan.hu[z])
        assert slice_.padding.sum() == (z == 1)
    assert scan.read(1).padding[0, 2]


def test_other_number_types_and_layouts_keep_their_values():
    values = np.arange(24).reshape(2, 3, 4)
    for array in (
        values,
        values.astype(np.float64),
        np.asfortranarray(values),
        values[:, :, ::-1][:, :, ::-1],
    ):
        scan = Scan.from_array(array)
        assert np.array_equal(scan.hu, values)
        assert scan.hu.dtype == np.float32
        assert not scan.read(0).padding.any()


def test_what_is_no_stack_is_refused():
    with pytest.raises(ValueError, match=r"three axes \[z, y, x\]; the array has 2"):
        Scan.from_array(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"mask is \(1, 2, 2\), the scan \(1, 2, 3\)"):
        Scan.from_array(np.zeros((1, 2, 3)), padding=np.zeros((1, 2, 2), bool))


def test_the_affine_takes_indices_to_millimetres_of_the_patient(scan):
    assert scan.affine @ [2, 3, 4, 1] == pytest.approx([4 * 0.5, 3 * 0.7, 2 * 2.5, 1])
    assert scan.spacing == pytest.approx((2.5, 0.7, 0.5))


def test_the_spacing_of_a_tilted_stack_is_that_along_its_own_axes(scan):
    angle = np.radians(20)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert replace(scan, affine=turn @ scan.affine).spacing == pytest.approx((2.5, 0.7, 0.5))


def test_what_is_done_makes_another_scan_and_leaves_the_first(scan):
    doubled = scan.with_slices(lambda z: Slice(2 * scan.read(z).hu, scan.read(z).padding), Step("double"))
    again = doubled.with_slices(doubled.read, Step("check", {"passed": True}))
    assert scan.history == ()
    assert doubled.history == (Step("double"),)
    assert again.history == (Step("double"), Step("check", {"passed": True}))
    assert np.array_equal(again.hu, 2 * scan.hu)
    assert np.array_equal(again.affine, scan.affine)
    assert again.origin is scan.origin
    with pytest.raises(dataclasses.FrozenInstanceError):
        scan.name = "other"


def watched(scan: Scan, reads: list[int]) -> Scan:
    def read(z: int) -> Slice:
        reads.append(z)
        return scan.read(z)

    return replace(scan, read=read)


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_reading_ahead_gives_every_slice_in_order_and_reads_it_once(scan, depth):
    reads: list[int] = []
    ahead = read_ahead(watched(scan, reads), depth)
    for z, slice_ in enumerate(ahead):
        assert np.array_equal(slice_.hu, scan.hu[z])
        assert np.array_equal(slice_.padding, scan.read(z).padding)
    assert reads == [0, 1, 2, 3]
    assert (ahead.history, ahead.name, ahead.shape) == (scan.history, scan.name, scan.shape)


def test_the_next_slices_are_read_while_one_is_in_use(scan):
    arrived = [threading.Event() for _ in range(len(scan))]

    def read(z: int) -> Slice:
        arrived[z].set()
        return scan.read(z)

    read_ahead(replace(scan, read=read), depth=2).read(0)
    assert arrived[2].wait(timeout=10)
    assert not arrived[3].is_set()


def test_slices_that_were_given_out_are_not_kept(scan):
    """Or a series of thousands of slices would not fit into memory."""
    given: list[weakref.ref[np.ndarray]] = []

    def read(z: int) -> Slice:
        hu = scan.read(z).hu.copy()
        given.append(weakref.ref(hu))
        return Slice(hu, scan.read(z).padding)

    ahead = read_ahead(replace(scan, read=read))
    for z in range(len(scan)):
        ahead.read(z)
    for _ in range(500):  # the reading thread may be a moment behind
        gc.collect()
        if not any(reference() is not None for reference in given):
            break
        time.sleep(0.01)
    assert [reference() for reference in given] == [None] * len(scan)


def test_slices_may_be_asked_for_in_any_order(scan):
    ahead = read_ahead(scan)
    for z in (3, 0, 2, 2, 1):
        assert np.array_equal(ahead.read(z).hu, scan.hu[z])


def test_a_fault_is_raised_at_its_own_slice_and_the_others_go_on(scan):
    def read(z: int) -> Slice:
        if z == 2:
            raise OSError("slice 2 is gone")
        return scan.read(z)

    ahead = read_ahead(replace(scan, read=read))
    assert np.array_equal(ahead.read(0).hu, scan.hu[0])
    assert np.array_equal(ahead.read(1).hu, scan.hu[1])
    with pytest.raises(OSError, match="slice 2 is gone"):
        ahead.read(2)
    assert np.array_equal(ahead.read(3).hu, scan.hu[3])


def test_the_slices_that_were_wanted_last_are_not_read_again(scan):
    read = []

    def watched(z):
        read.append(z)
        return scan.read(z)

    kept = remembering(replace(scan, read=watched), 2)
    for z in (0, 1, 0, 2, 0, 1):
        assert np.array_equal(kept.read(z).hu, scan.read(z).hu)
    assert read == [0, 1, 2, 1]


def test_scans_in_step_are_never_more_than_a_slice_apart():
    at = [0, 0]
    apart = []

    def watched(k):
        def read(z):
            at[k] = z
            apart.append(abs(at[0] - at[1]))
            time.sleep(0.002 * k)
            return Slice(np.zeros((1, 1), np.float32), np.zeros((1, 1), bool))

        return replace(Scan.from_array(np.zeros((20, 1, 1)), spacing=(1, 1, 1)), read=read)

    scans, _ = in_step([watched(0), watched(1)])
    with ThreadPoolExecutor(2) as readers:
        list(readers.map(lambda scan: [scan.read(z) for z in range(20)], scans))
    assert at == [19, 19]
    assert max(apart) <= 1


def test_scans_in_step_run_on_alone_when_one_has_failed():
    scan = Scan.from_array(np.zeros((3, 1, 1)), spacing=(1, 1, 1))
    (first, _), alone = in_step([scan, scan])
    alone()
    assert [first.read(z).hu.shape for z in range(3)] == [(1, 1)] * 3
