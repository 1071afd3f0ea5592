"""Diseases lie in the vessel, and contrast agent shows in blood alone."""

from __future__ import annotations

import numpy as np
import pytest

from lowdose.phantoms.abdomen import abdomen
from lowdose.phantoms.thorax import thorax
from lowdose.phantoms.vessel_disease import DISEASES, FLAP_HU, THROMBUS_HU, with_disease

RANGE = (-80.0, 30.0)


def chest(disease, contrast=0.0, seed=1):
    return with_disease(
        thorax(seed, contrast), disease, np.random.default_rng(seed), contrast=contrast, z_range=RANGE
    )


def middle_of(body, disease):
    return next(finding for finding in body.findings if finding.kind == disease)


def along_a_line(body, centre, axis, half=60.0):
    """The structures met on a line through `centre` along `axis`, each once, in order."""
    places = np.repeat([centre], 481, axis=0)
    places[:, axis] += np.linspace(-half, half, 481)
    met = body.structures_at(places)
    return [name for name, before in zip(met, ["", *met], strict=False) if name != before]


@pytest.mark.parametrize("disease", DISEASES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_and_without_agent_the_solids_are_the_same_and_blood_alone_differs(disease, seed):
    plain, enhanced = chest(disease, 0.0, seed), chest(disease, 300.0, seed)
    assert plain.labels == enhanced.labels
    for a, b in zip(plain.solids, enhanced.solids, strict=True):
        assert (a.name, a.centre, a.radii, a.halves) == (b.name, b.centre, b.radii, b.halves)
        if a.name in ("thrombus", "flap", "calcified plaque", "soft plaque"):
            assert a.hu == b.hu
        if a.name == "aorta":
            assert b.hu - a.hu == 300.0
        if a.name == "false lumen":
            assert b.hu - a.hu == pytest.approx(225.0)


def test_a_healthy_vessel_is_left_as_it_is():
    assert chest("healthy").solids == thorax(1).solids
    assert chest("healthy").facts["disease"] == "healthy"


def test_an_aneurysm_is_wider_than_the_vessel_and_has_thrombus_around_its_lumen():
    for seed in (1, 2, 3):
        body = chest("aneurysm", 300.0, seed)
        finding = middle_of(body, "aneurysm")
        assert finding.size[1] > 2 * 1.7 * 11.0
        lumen = [solid for solid in body.solids if solid.name == "aorta"][-1].centre
        met = along_a_line(body, lumen, 2)
        assert "thrombus" in met
        assert "aorta" in met
    thrombus = next(solid for solid in body.solids if solid.name == "thrombus")
    assert thrombus.hu == THROMBUS_HU


def test_across_a_dissection_lie_two_lumens_with_the_flap_between():
    for seed in (1, 2, 3):
        body = chest("dissection", 300.0, seed)
        false = next(solid for solid in body.solids if solid.name == "false lumen")
        true = next(solid for solid in reversed(body.solids) if solid.name == "aorta")
        towards = np.subtract(true.centre, false.centre)
        towards /= np.linalg.norm(towards)
        places = np.array(false.centre) + np.linspace(-0.9, 0.8, 300)[:, None] * false.radii[1] * towards
        met = body.structures_at(places)
        order = [name for name, before in zip(met, ["", *met], strict=False) if name != before]
        assert [name for name in order if name != "spine"] == ["false lumen", "flap", "aorta"]
        flap = next(solid for solid in body.solids if solid.name == "flap")
        assert flap.hu == FLAP_HU
        assert 1.0 < flap.radii[1] - true.radii[1] < 2.1


def test_plaques_sit_on_the_wall_and_the_soft_one_narrows_the_lumen():
    body = chest("atherosclerosis", 300.0)
    soft = next(solid for solid in body.solids if solid.name == "soft plaque")
    assert 5 <= sum(solid.name == "calcified plaque" for solid in body.solids) <= 10
    plain = thorax(1, 300.0)
    z = soft.centre[0]
    y, x = np.mgrid[0:80:0.5, -20:60:0.5].reshape(2, -1)
    cut = np.stack([np.full_like(y, z), y, x], axis=1)
    before = sum(name == "aorta" for name in plain.structures_at(cut))
    after = sum(name == "aorta" for name in body.structures_at(cut))
    assert 0.2 * before < after < 0.8 * before


def test_other_bodies_have_an_aorta_too_and_bones_stay_in_front():
    body = with_disease(abdomen(2, 300.0), "aneurysm", np.random.default_rng(2), contrast=300.0)
    place = next(solid for solid in abdomen(2, 300.0).solids if solid.name == "spine" and solid.hu == 200.0)
    assert body.structures_at(np.array([place.centre])) == ["spine"]


def test_what_there_is_not_is_refused():
    with pytest.raises(ValueError, match="no disease 'gout'"):
        chest("gout")
    with pytest.raises(ValueError, match="has no 'tail'"):
        with_disease(thorax(1), "aneurysm", np.random.default_rng(1), vessel="tail")
    with pytest.raises(ValueError, match="does not reach 500 to 600 mm"):
        with_disease(thorax(1), "aneurysm", np.random.default_rng(1), z_range=(500.0, 600.0))
