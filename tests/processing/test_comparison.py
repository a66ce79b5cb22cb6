"""Two videos beside each other."""

import av
import numpy as np
import pytest

from lirec.errors import LirecError
from lirec.processing.comparison import side_by_side
from lirec.processing.video import VideoWriter, open_video


def film(path, size, colour, times, sound=None):
    width, height = size
    with VideoWriter(path, size, 10, sound) as writer:
        for time in times:
            writer.write(np.full((height, width, 3), colour, np.uint8), time)
    return path


@pytest.fixture
def sound(tmp_path):
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            (8000 * np.sin(np.arange(16000) * 0.2)).astype(np.int16)[None], "s16", "mono"
        )
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return tmp_path / "sound.wav"


def test_same_height_times_and_sound_of_the_right(tmp_path, sound):
    left = film(tmp_path / "left.mp4", (60, 40), (200, 30, 30), [0, 0.1, 0.2, 0.3, 0.4])
    times = [0, 0.1, 0.35]
    right = film(tmp_path / "right.mp4", (81, 80), (30, 30, 200), times, sound)
    output = side_by_side(left, right, tmp_path / "both.mp4")
    video = open_video(output)
    frames = list(video)
    assert video.has_audio and len(frames) == 3
    assert [frame.time for frame in frames] == pytest.approx(times, abs=1e-3)
    image = frames[1].image
    assert image.shape[:2] == (80, 120 + 82)  # odd edges are made even
    assert np.abs(image[:, 4:116].astype(int) - (200, 30, 30)).max() < 12
    assert np.abs(image[:, 124:198].astype(int) - (30, 30, 200)).max() < 12


def test_large_videos_are_made_smaller(tmp_path):
    left = film(tmp_path / "left.mp4", (64, 64), (0, 90, 0), [0])
    right = film(tmp_path / "right.mp4", (480, 960), (0, 0, 90), [0])
    assert open_video(side_by_side(left, right, tmp_path / "both.mp4")).size == (640 + 320, 640)


def test_wide_videos_are_made_smaller(tmp_path):
    left = film(tmp_path / "left.mp4", (2000, 50), (0, 90, 0), [0])
    right = film(tmp_path / "right.mp4", (320, 640), (0, 0, 90), [0])
    assert 4000 < open_video(side_by_side(left, right, tmp_path / "both.mp4")).size[0] <= 4096


def test_what_is_read_is_not_written(tmp_path):
    left, right = (film(tmp_path / name, (32, 32), 9, [0]) for name in ("left.mp4", "right.mp4"))
    before = right.read_bytes()
    with pytest.raises(LirecError, match="read and written at once"):
        side_by_side(left, right, right)
    assert right.read_bytes() == before
