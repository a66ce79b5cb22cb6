"""A face followed through pictures."""

import numpy as np
import pytest

from lirec.pipelines.tracking import CutDetector, FaceTracker, Motion
from lirec.processing.detection import overlap
from tests.pipelines.clips import FACE, empty, wander


def follow(pipeline, frames, **start):
    tracker = FaceTracker(pipeline, **start)
    return [tracker.follow(frame) for frame in frames]


def box(motion: Motion):
    return np.concatenate((motion.landmarks.min(0), motion.landmarks.max(0)))


def test_a_moving_face_is_followed(shipped_pipeline):
    seen = follow(shipped_pipeline, [wander(2 * i, -i) for i in range(9)])
    assert all(sighting.motion is not None and not sighting.cut for sighting in seen)
    for i, sighting in enumerate(seen):
        place = FACE + np.tile((2 * i, -i), 2)
        assert overlap(box(sighting.motion), np.float32(place))[0] > 0.6
    moved = seen[8].motion.position - seen[0].motion.position
    np.testing.assert_allclose(moved, (16, -8), atol=3)


def test_nearer_faces_are_larger(shipped_pipeline):
    first, *_, last = follow(shipped_pipeline, [wander(0, 0, 1 + 0.03 * i) for i in range(7)])
    assert last.motion.scale / first.motion.scale == pytest.approx(1.18, abs=0.06)


def test_motion_says_where_the_head_is(shipped_pipeline):
    (face,) = shipped_pipeline(wander(0), boxes=[FACE]).faces
    motion = Motion.of(face)
    eyes = face.landmarks[36:48].mean(0)
    assert np.linalg.norm(motion.position - eyes) < 0.15 * np.ptp(face.landmarks[:, 1])
    corners = face.landmarks[[36, 45]]
    assert np.linalg.norm(corners[1] - corners[0]) / motion.scale == pytest.approx(0.09, abs=0.025)  # metres


def test_a_lost_face_is_missed_and_found_again(shipped_pipeline):
    frames = [wander(0)] * 2 + [empty()] * 6 + [wander(20)] * 6
    seen = follow(shipped_pipeline, frames)
    found = [sighting.motion is not None for sighting in seen]
    assert found[:2] == [True] * 2 and not any(found[2:8]) and all(found[8:])
    assert [i for i, sighting in enumerate(seen) if sighting.cut] == [2, 8]
    assert overlap(box(seen[-1].motion), FACE + np.float32([20, 0, 20, 0]))[0] > 0.6


def test_a_face_that_is_covered_is_missed(shipped_pipeline):
    """No cut tells of it: the detector's second look does."""
    frames = [wander(0).copy() for _ in range(20)]
    for i, frame in enumerate(frames):  # a curtain comes down
        frame[: 15 * i, 25:135] = (90, 70, 60)
    seen = follow(shipped_pipeline, frames)
    assert not any(sighting.cut for sighting in seen)
    assert seen[0].motion is not None and all(sighting.motion is None for sighting in seen[-5:])


def test_the_detector_confirms_as_often_in_shared_passes(shipped_pipeline, monkeypatch):
    frames = [wander(0).copy() for _ in range(20)]
    confirmed = []
    confirm = FaceTracker._confirm

    def spy(tracker, image):
        confirmed.append(next(i for i, frame in enumerate(frames) if frame is image))
        return confirm(tracker, image)

    monkeypatch.setattr(FaceTracker, "_confirm", spy)
    follow(shipped_pipeline, frames)
    FaceTracker(shipped_pipeline).follow_all(frames)
    assert confirmed == [6, 12, 18] * 2


def test_a_given_box_chooses_the_face(shipped_pipeline):
    two = np.concatenate((wander(0), wander(0, 0, 0.8)), 1)
    boxes = [face.box for face in shipped_pipeline(two).faces]
    assert len(boxes) == 2 and boxes[0][0] < 160 < boxes[1][0]
    for start, right in ((None, False), (boxes[1], True)):
        (sighting,) = follow(shipped_pipeline, [two], box=start)
        assert (sighting.motion.position[0] > 160) == right


def test_cuts():
    is_cut = CutDetector()
    room = empty()
    dark = (room * 0.85).astype(np.uint8)
    pictures = [wander(0), wander(6), wander(12, 4), room, dark, wander(0), wander(0, 0, 1.1)]
    assert [is_cut(picture) for picture in pictures] == [False, False, False, True, False, True, False]
