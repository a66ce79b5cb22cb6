"""Named changes of a face."""

import numpy as np
import pytest
import torch

from lirec import LirecError
from lirec.geometry import euler_to_matrix, matrix_to_euler
from lirec.pipelines.editing import edited_motion, gaze_of
from lirec.pipelines.tracking import Motion


@pytest.fixture(scope="module")
def names(morphable_model):
    return morphable_model.expression_names


def edit(names, angles=(0.0, 0.0, 0.0), **values):
    source = Motion.at_rest(len(names))
    source.rotation = euler_to_matrix(torch.tensor(angles)).numpy()
    return edited_motion(source, names, values)


def degrees(motion):
    return np.degrees(matrix_to_euler(torch.from_numpy(motion.rotation)).numpy())


def test_turns_are_pitch_yaw_roll_of_the_picture(names):
    np.testing.assert_allclose(degrees(edit(names, pitch=10, yaw=-25, roll=5)), [10, -25, 5], atol=1e-3)
    np.testing.assert_allclose(degrees(edit(names, (0.0, 0.3, 0.0), yaw=10)), [0, np.degrees(0.3) + 10, 0], atol=1e-3)
    np.testing.assert_allclose(degrees(edit(names, (0.1, 0.3, 0.2))), np.degrees([0.1, 0.3, 0.2]), atol=1e-3)


def test_expressions_take_the_place_of_the_photos(names):
    source = Motion.at_rest(len(names))
    source.expression[names.index("jawOpen")] = 0.5
    edited = edited_motion(source, names, {"jawOpen": 0.0, "browInnerUp": 0.7})
    assert edited.expression[names.index("jawOpen")] == 0
    assert edited.expression[names.index("browInnerUp")] == pytest.approx(0.7)
    assert source.expression[names.index("jawOpen")] == 0.5


@pytest.mark.parametrize(("x", "y"), [(12.0, 0.0), (-20.0, 0.0), (0.0, 10.0), (0.0, -15.0)])
def test_gaze_turns_both_eyes_by_degrees(names, morphable_model, x, y):
    expression = torch.from_numpy(edit(names, gaze_x=x, gaze_y=y).expression)[None]
    moved = morphable_model(torch.zeros(1, 80), expression)[0] - morphable_model.mean_vertices
    for eye in ("eye_left", "eye_right"):
        chosen = morphable_model.select_vertices(eye)
        before = morphable_model.mean_vertices[chosen]
        after = before + moved[chosen]
        u, _, v = torch.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
        forward = (v.T @ u.T)[:, 2]
        turned = np.degrees([torch.asin(forward[0]).item(), torch.asin(forward[1]).item()])
        np.testing.assert_allclose(turned, [x, y], atol=1.5)


@pytest.mark.parametrize("gaze", [(0.0, 0.0), (12.0, -6.0), (-20.0, 10.0)])
def test_gaze_is_read_as_it_was_asked_for(names, gaze):
    expression = edit(names, gaze_x=gaze[0], gaze_y=gaze[1]).expression
    assert gaze_of(expression, names) == pytest.approx(gaze, abs=1e-4)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"jawopen": 0.5}, "did you mean jawOpen"),
        ({"ears": 0.5}, "expression_names"),
        ({"jawOpen": 1.2}, "between 0 and 1"),
        ({"yaw": float("nan")}, "between -60 and 60"),
        ({"yaw": "left"}, "between -60 and 60"),
    ],
)
def test_wrong_values(names, values, sentence):
    with pytest.raises(LirecError, match=sentence):
        edit(names, **values)
