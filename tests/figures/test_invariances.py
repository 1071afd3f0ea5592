import numpy as np

from lowdose.figures.invariances import LesionLeft, Pair, lesions_figure, pair_figure, places_figure


def test_a_pair_shows_six_images_and_says_how_they_are_shown():
    images = np.random.default_rng(0).normal(0, 50, (4, 64, 64))
    figure = pair_figure(Pair(*images, (20, 30)), "a title", "A caption.")
    assert figure.svg.count("<image") == 6
    assert figure.caption.startswith("A caption. Images −")


def test_places_beyond_the_limit_have_another_colour():
    figure = places_figure([("lung", 1.0), ("soft tissue", 3.0)], 2.0)
    (_, within), (_, beyond) = figure.legend
    assert figure.svg.count(beyond) == 2  # a bar and the limit
    assert figure.svg.count(within) == 1


def test_lesions_stand_by_size_and_contrast():
    lesions = [
        LesionLeft(3.0, -50.0, True, 0.2),
        LesionLeft(6.0, -100.0, False, 0.9),
        LesionLeft(6.0, -50.0, True, 1.3),
    ]
    figure = lesions_figure("dark lesion", lesions)
    assert figure.title == "Dark lesion"
    for text in ("20 %", "130 %", "not seen", "−100", ">3<", ">6<"):
        assert text in figure.svg
