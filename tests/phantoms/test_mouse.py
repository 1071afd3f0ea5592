import numpy as np
import pytest

from lowdose.phantoms.mouse import N_MICE, mouse
from lowdose.physics.geometry import VolumeGrid

GRID = VolumeGrid((65, 65, 65), (0.55, 0.55, 0.55))


def test_all_mice_differ_and_each_is_the_same_again():
    mice = [mouse(seed) for seed in range(1, N_MICE + 1)]
    assert len({one.solids for one in mice}) == N_MICE
    assert mouse(5) == mice[4]


def test_every_mouse_has_what_a_mouse_has():
    for seed in (1, 17, 38):
        labels = set(mouse(seed).labels)
        assert {
            "fat", "muscle", "lungs", "lung vessels", "airways", "heart", "liver", "kidneys", "spleen",
            "bladder", "bowel", "stomach", "spine", "ribs", "limbs", "tumour",
        } <= labels  # fmt: skip


def test_a_mouse_is_as_big_as_a_mouse_and_mostly_soft():
    one = mouse(3)
    hu = np.stack([one.image(GRID, z, fine=1) for z in range(65)])
    body = hu > -950
    widths = body[32].any(axis=0).sum() * 0.55, body[32].any(axis=1).sum() * 0.55
    assert 20 < widths[0] < 30
    assert 16 < widths[1] < 28
    soft = ((hu > -200) & (hu < 150))[body].mean()
    bone = (hu > 250)[body].mean()
    lung = ((hu < -400) & body).sum() / body.sum()
    assert soft > 0.8
    assert 0.01 < bone < 0.12
    assert 0.02 < lung < 0.15


def test_lesions_lie_where_they_are_said_to_lie():
    found = 0
    for seed in range(1, 9):
        one = mouse(seed)
        for finding in one.findings:
            (structure,) = one.structures_at(np.array([finding.centre]))
            assert structure == finding.kind
            found += finding.kind != "tumour"
        assert one.findings[0].kind == "tumour"
    assert found > 8


def test_bones_and_organs_stay_under_the_skin():
    """Outside the fat there is nothing but air."""
    one = mouse(2)
    skin = type(one)("skin", "skin", tuple(solid for solid in one.solids if solid.name == "fat"))
    for z in range(0, 65, 4):
        outside = skin.label_image(GRID, z) == 0
        assert not one.label_image(GRID, z)[outside].any()


@pytest.mark.parametrize("seed", [4, 9])
def test_the_mouse_lies_almost_upright(seed):
    assert abs(mouse(seed).facts["roll"]) < 20
