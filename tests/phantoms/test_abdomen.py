import numpy as np

from lowdose.phantoms.abdomen import abdomen
from lowdose.physics.geometry import VolumeGrid

GRID = VolumeGrid((15, 100, 130), (10.0, 3.0, 3.0))


def test_an_abdomen_is_mostly_soft():
    belly = abdomen(1)
    hu = np.stack([belly.image(GRID, z, fine=1) for z in range(15)])
    body = hu > -980
    assert ((hu > -150) & (hu < 250))[body].mean() > 0.9
    assert 0.005 < (hu > 300)[body].mean() < 0.08
    assert {"liver", "kidneys", "spleen", "aorta", "liver vessels", "bowel", "metastasis"} <= set(
        belly.labels
    )


def test_contrast_brightens_blood_most_and_fat_not_at_all():
    plain, enhanced = abdomen(2, contrast=0.0), abdomen(2, contrast=200.0)
    gains = {a.name: b.hu - a.hu for a, b in zip(plain.solids, enhanced.solids, strict=True)}
    assert gains["aorta"] == 200.0
    assert gains["liver"] == 90.0
    assert gains["fat"] == gains["spine"] == gains["muscle"] == 0.0


def test_metastases_are_darker_than_their_liver():
    belly = abdomen(3, n_lesions=3)
    assert len(belly.findings) == 3
    for finding in belly.findings:
        assert finding.hu == finding.background_hu - 30.0
        assert belly.structures_at(np.array([finding.centre])) == ["metastasis"]
    assert abdomen(3) == abdomen(3)
    assert abdomen(3) != abdomen(4)
