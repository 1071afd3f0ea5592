import numpy as np

from lowdose.figures.detection import detection_figures
from lowdose.quality.lesion_detection import ImageFindings, match

BOX = [10.0, 10.0, 20.0, 20.0]


def test_both_curves_have_a_line_for_each_arm_and_no_names_in_them():
    images = [ImageFindings("P", np.array([BOX]), np.array([BOX]), np.array([0.9]))]
    arms = {"own <dose>": match(images), "low": match(images)}
    figures = detection_figures(arms, {"own <dose>": "#123456", "low": "#654321"})
    assert [figure.title for figure in figures] == ["Precision and recall", "Free-response ROC"]
    for figure in figures:
        assert figure.svg.startswith("<svg")
        assert figure.svg.count("#123456") >= 1
        assert figure.svg.count("#654321") >= 1
        assert "own" not in figure.svg
        assert figure.legend == (("own <dose>", "#123456"), ("low", "#654321"))
        assert "$" not in figure.svg  # text of matplotlib's own mathematics is not drawn as such
