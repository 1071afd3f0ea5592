import numpy as np
from scipy.ndimage import label

from lowdose.phantoms.neck import neck
from lowdose.phantoms.vessel_disease import with_disease
from lowdose.physics.geometry import VolumeGrid

GRID = VolumeGrid((21, 80, 80), (10.0, 2.0, 2.0))


def structures_in(body, z):
    y, x = np.mgrid[-70:70:1.0, -70:70:1.0].reshape(2, -1)
    return body.structures_at(np.stack([np.full_like(y, z), y, x], axis=1))


def test_a_neck_has_an_airway_arteries_and_bone_all_the_way_up():
    body = neck(1)
    for z in (-100.0, -40.0, 40.0, 100.0):
        met = set(structures_in(body, z))
        assert {"fat", "muscle", "air in airways", "carotid arteries", "jugular veins", "spine"} <= met
    hu = np.stack([body.image(GRID, z, fine=1) for z in range(21)])
    assert 0.2 < (hu > -980).mean() < 0.7


def test_arteries_enhance_most_veins_less_and_nothing_but_the_thyroid_besides():
    plain, enhanced = neck(2), neck(2, 300.0)
    change = {a.name: b.hu - a.hu for a, b in zip(plain.solids, enhanced.solids, strict=True) if a.hu != b.hu}
    assert change["carotid arteries"] == change["vertebral arteries"] == 300.0
    assert change["jugular veins"] == change["thyroid"] == 90.0
    assert len(change) == 4


def test_each_carotid_forks_once():
    body = neck(3)
    y, x = np.mgrid[-40:30:0.5, 5:60:0.5].reshape(2, -1)

    def n_tubes(z):
        met = body.structures_at(np.stack([np.full_like(y, z), y, x], axis=1))
        mask = np.array([name == "carotid arteries" for name in met]).reshape(140, 110)
        return label(mask)[1]

    assert n_tubes(-60.0) == 1
    assert n_tubes(80.0) == 2


def test_necks_differ_and_each_is_the_same_again():
    assert neck(4).solids == neck(4).solids
    assert neck(4).solids != neck(5).solids


def test_a_carotid_can_be_diseased():
    body = with_disease(
        neck(1, 300.0), "atherosclerosis", np.random.default_rng(1), vessel="carotid arteries", contrast=300.0
    )
    plaque = next(solid for solid in body.solids if solid.name == "soft plaque")
    assert body.structures_at(np.array([plaque.centre])) == ["soft plaque"]
    assert body.facts["vessel"] == "carotid arteries"
