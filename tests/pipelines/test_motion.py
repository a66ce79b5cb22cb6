"""Motion made calm, and given to another head."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lirec import LirecError
from lirec.pipelines.motion import MOST_SHIFT, PARTS, MotionSmoother, MotionTransfer, part_of, strangeness
from lirec.pipelines.tracking import Motion

FLIP = np.diag([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def names(morphable_model):
    return morphable_model.expression_names


def head(names, turn=(0, 0, 0), position=(100, 80), scale=1000.0, **expression) -> Motion:
    """`turn` is a rotation vector in degrees, in the camera frame."""
    values = np.zeros(len(names), np.float32)
    for name, value in expression.items():
        values[names.index(name)] = value
    rotation = Rotation.from_rotvec(np.radians(turn)).as_matrix() @ FLIP
    return Motion(values, rotation, np.array(position, float), scale)


def value(motion, names, name):
    return motion.expression[names.index(name)]


def test_parts(names):
    parts = {name: part_of(name) for name in names}
    assert set(parts.values()) == set(PARTS) - {"pose"}
    assert parts["eyeBlinkLeft"] == parts["eyeLookInRight"] == "eyes"
    assert parts["jawOpen"] == parts["mouthSmileLeft"] == "mouth"
    assert parts["browInnerUp"] == parts["noseSneerRight"] == "expression"


def test_the_reference_leaves_the_source_as_it_is(names):
    source = head(names, (5, 20, -3), mouthSmileLeft=0.3, jawOpen=0.08)
    reference = head(names, (-8, 4, 6), (50, 60), 400, mouthFunnel=0.4)
    transfer = MotionTransfer(source, reference, names)
    transfer.start(reference)
    moved = transfer(reference)
    np.testing.assert_allclose(moved.expression, source.expression, atol=1e-6)
    np.testing.assert_allclose(moved.rotation, source.rotation, atol=1e-6)
    np.testing.assert_allclose(moved.position, source.position)
    assert moved.scale == pytest.approx(source.scale)


def test_relative_motion_adds_changes_and_cancels_bias(names):
    source, bias = head(names, (0, 30, 0), jawOpen=0.1), (4, -6, 0)
    reference = head(names, bias, mouthSmileLeft=0.3)
    driver = head(names, (4, 4, 0), mouthSmileLeft=0.7, jawOpen=0.95)
    moved = MotionTransfer(source, reference, names)(driver)
    assert value(moved, names, "mouthSmileLeft") == pytest.approx(0.4)
    assert value(moved, names, "jawOpen") == 1  # 1.05
    # the driver's turn since the reference is 10° about y, but for the pitch that both have
    turned = Rotation.from_matrix(moved.rotation @ source.rotation.T).magnitude()
    assert np.degrees(turned) == pytest.approx(10, abs=0.2)


def test_an_open_mouth_closes_with_the_drivers(names):
    source = head(names, jawOpen=0.8, mouthSmileLeft=0.5)
    closed, opened = head(names), head(names, jawOpen=0.6)
    transfer = MotionTransfer(source, closed, names)
    assert value(transfer(closed), names, "jawOpen") == pytest.approx(0.1)
    assert value(transfer(closed), names, "mouthSmileLeft") == pytest.approx(0.5)
    assert value(transfer(opened), names, "jawOpen") == pytest.approx(0.7)
    assert value(MotionTransfer(source, opened, names)(opened), names, "jawOpen") == pytest.approx(0.7)
    still = MotionTransfer(source, closed, names, strength=0)
    assert value(still(opened), names, "jawOpen") == pytest.approx(0.8)


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_strength(names, strength):
    source, reference = head(names), head(names)
    driver = head(names, (0, 12, 0), (100 + 5, 80), jawOpen=0.4)
    transfer = MotionTransfer(source, reference, names, strength=strength)
    transfer.start(reference)
    moved = transfer(driver)
    angle = np.degrees(Rotation.from_matrix(moved.rotation @ source.rotation.T).magnitude())
    assert angle == pytest.approx(12 * strength, abs=1e-3)
    assert value(moved, names, "jawOpen") == pytest.approx(0.4 * strength)
    assert moved.position[0] - 100 == pytest.approx(5 * strength, rel=0.05, abs=1e-6)


def test_absolute_motion_takes_the_drivers_own(names):
    source = head(names, (0, 20, 0), (300, 200), 2000, jawOpen=0.5)
    driver = head(names, (10, -15, 0), jawOpen=0.1, eyeBlinkLeft=0.9)
    moved = MotionTransfer(source, head(names, jawOpen=1), names, motion="absolute")(driver)
    np.testing.assert_array_equal(moved.expression, driver.expression)
    np.testing.assert_allclose(moved.rotation, driver.rotation, atol=1e-6)
    np.testing.assert_allclose(moved.position, source.position)  # places start from where the driver is seen first


def test_places_are_in_sizes_of_the_head_and_have_a_limit(names):
    source, start = head(names, position=(300, 200), scale=2000), head(names, position=(50, 50), scale=500)
    transfer = MotionTransfer(source, start, names)
    transfer.start(start)
    moved = transfer(head(names, position=(50 + 5, 50), scale=500))  # a centimetre
    assert moved.position[0] - 300 == pytest.approx(20, rel=0.05) and moved.position[1] == pytest.approx(200)
    far = transfer(head(names, position=(50 + 400, 50), scale=2000))
    assert 0 < far.position[0] - 300 < MOST_SHIFT * 2000 and 1 < far.scale / 2000 < 1.3


@pytest.mark.parametrize("part", PARTS)
def test_only_what_is_named_moves(names, part):
    source = head(names, (0, 10, 0), jawOpen=0.2)
    driver = head(names, (9, 0, 0), (90, 70), jawOpen=0.6, eyeBlinkLeft=0.5, browInnerUp=0.4)
    moved = MotionTransfer(source, None, names, move=[part])(driver)
    changed = {part_of(names[i]) for i in np.flatnonzero(moved.expression != source.expression)}
    turned = not np.allclose(moved.rotation, source.rotation)
    assert (changed, turned) == (set(), True) if part == "pose" else ({part}, False)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"motion": "both"}, "relative or absolute"),
        ({"move": ["ears"]}, "pose, expression, eyes, mouth"),
        ({"strength": -1}, "strength"),
        ({"strength": float("nan")}, "strength"),
    ],
)
def test_wrong_settings(names, wrong, sentence):
    with pytest.raises(LirecError, match=sentence):
        MotionTransfer(head(names), None, names, **wrong)


def test_the_best_reference_is_at_rest(names, morphable_model):
    source = head(names)
    rest, talking = head(names, mouthSmileLeft=0.05), head(names, jawOpen=0.3)
    blinking, turned = head(names, eyeBlinkLeft=1, eyeBlinkRight=1), head(names, (0, 30, 0))
    oddities = [strangeness(motion, source, morphable_model) for motion in (rest, talking, blinking, turned)]
    assert oddities[0] == min(oddities) and oddities[0] < 0.5 * sorted(oddities)[1]
    smiling = head(names, mouthSmileLeft=0.8, mouthSmileRight=0.8)
    alike = head(names, mouthSmileLeft=0.3, mouthSmileRight=0.3)
    assert strangeness(alike, smiling, morphable_model) < strangeness(rest, smiling, morphable_model)


def test_smoothing_stills_noise_and_follows_moves(names):
    generator = np.random.default_rng(0)
    smoother, still, noisy = MotionSmoother(), [], []
    for frame in range(60):
        turn, place = generator.normal(0, 0.1, 3), (100, 80) + generator.normal(0, 0.1, 2)
        noisy.append(head(names, turn, place, 1000 * np.exp(generator.normal(0, 0.0008)), jawOpen=0.3))
        still.append(smoother(noisy[-1], frame / 30))

    def spread(motions):
        turns = [Rotation.from_matrix(motion.rotation @ FLIP).as_rotvec() for motion in motions[10:]]
        places = [motion.position for motion in motions[10:]]
        return np.std(turns, 0).mean(), np.std(places, 0).mean(), np.std([m.scale for m in motions[10:]])

    for calm, rough in zip(spread(still), spread(noisy), strict=True):
        assert calm < 0.45 * rough
    # a blink of a fifth of a second is not smoothed away
    smoother.reset()
    lids = [0, 0, 0.3, 0.8, 1, 0.8, 0.3, 0, 0]
    seen = [smoother(head(names, eyeBlinkLeft=v), i / 30) for i, v in enumerate(lids)]
    assert max(value(motion, names, "eyeBlinkLeft") for motion in seen) > 0.8


def test_smoothing_starts_anew_at_a_cut(names):
    smoother = MotionSmoother()
    smoother(head(names), 0.0)
    smoother.reset()
    motion = head(names, (0, 40, 0), (10, 20), 300, jawOpen=1)
    after = smoother(motion, 0.04)
    np.testing.assert_allclose(after.rotation, motion.rotation, atol=1e-6)
    np.testing.assert_allclose(after.position, motion.position)
    assert after.scale == pytest.approx(300) and value(after, names, "jawOpen") == 1
