"""How fast a video becomes motion capture, as a ratio to decoding and the two networks. `pytest -s` shows figures."""

import numpy as np
import torch
from PIL import Image

from lirec.processing.video import VideoWriter, open_video
from tests.benchmarks.test_pipeline import milliseconds
from tests.pipelines.clips import EXAMPLES

FRAMES = 24
SIZE = (854, 480)


def test_capture_against_its_networks(shipped_pipeline, tmp_path):
    """A 480p video to expressions, pose and gaze, beside reading it and one pass of RecNet and ETNet a frame."""
    path = tmp_path / "480p.mp4"
    with VideoWriter(path, SIZE, 25) as writer:
        for _, frame in zip(range(FRAMES), open_video(EXAMPLES / "talking.mp4"), strict=False):
            picture = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
            picture[:, 187:667] = Image.fromarray(frame.image).resize((480, 480))
            writer.write(picture)
    sizes = (network.config.image_size for network in (shipped_pipeline.rec_net, shipped_pipeline.et_net))
    first, second = (torch.rand(1, 3, size, size) for size in sizes)

    def alone():
        with torch.inference_mode():
            for _ in open_video(path):
                shipped_pipeline.rec_net(first)
                shipped_pipeline.et_net(second)

    taken = shipped_pipeline.capture(path)
    captured, bare, saved = milliseconds(
        lambda: shipped_pipeline.capture(path), alone, lambda: taken.save(tmp_path / "take.glb"), repeats=2
    )
    print(
        f"\ncapture at 480p {1000 * FRAMES / captured:.0f} frames/s, {captured / FRAMES:.0f} ms a frame; decoding and "
        f"the networks alone {bare / FRAMES:.0f} ms, {captured / bare:.1f} times; the GLB {saved:.0f} ms"
    )
    assert captured < 2.5 * bare
