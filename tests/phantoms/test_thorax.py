import numpy as np

from lowdose.phantoms.thorax import thorax
from lowdose.physics.geometry import VolumeGrid

GRID = VolumeGrid((21, 100, 130), (10.0, 3.0, 3.0))


def test_a_chest_has_air_blood_and_bone_in_their_shares():
    chest = thorax(1)
    hu = np.stack([chest.image(GRID, z, fine=1) for z in range(21)])
    body = hu > -980
    assert 0.15 < (hu < -700)[body].mean() < 0.5
    assert 0.01 < (hu > 150)[body].mean() < 0.1
    assert {"heart", "aorta", "lung vessels", "airways", "ribs", "spine", "nodule"} <= set(chest.labels)


def test_contrast_is_in_the_blood_alone():
    plain, enhanced = thorax(2), thorax(2, contrast=300.0)
    changed = {a.name for a, b in zip(plain.solids, enhanced.solids, strict=True) if a.hu != b.hu}
    assert changed == {"aorta", "lung arteries", "lung vessels", "heart chambers", "vena cava"}
    aorta = next(solid for solid in enhanced.solids if solid.name == "aorta")
    assert aorta.hu == 345.0


def test_nodules_lie_in_lung_and_seeds_differ():
    chest = thorax(3, n_lesions=4)
    assert len(chest.findings) == 4
    for finding in chest.findings:
        assert chest.structures_at(np.array([finding.centre])) == ["nodule"]
        assert 3.0 < max(finding.size) < 17.0
        beside = np.add(finding.centre, (0.0, 0.0, 0.62 * finding.size[2]))
        assert chest.structures_at(beside[None]) == ["lungs"]
    assert thorax(4).solids != thorax(5).solids
    assert thorax(3, n_lesions=0).findings == ()
