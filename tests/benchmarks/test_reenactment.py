"""How long a driving frame takes, as a ratio to known networks in the same run. `pytest -s` shows the figures."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import nn

from lirec import DCNetPipeline, LINetPipeline
from lirec.models.dc_net import DCNet
from lirec.models.landmark_lifter import LandmarkLifter
from lirec.models.li_net import ExpressionGenerator, FaceRotator, LandmarkTransformer
from lirec.models.rec_net import RecNet
from lirec.pipelines.driving import Pictures
from lirec.pipelines.tracking import FaceTracker
from lirec.processing.image import load_image
from lirec.processing.video import open_video
from tests.benchmarks.test_pipeline import ASTRONAUT, BOX, milliseconds

TALKING = ASTRONAUT.with_name("talking.mp4")
FRAMES = 8


@pytest.fixture(scope="module")
def pipeline(shipped_pipeline):
    """The shipped size; how long it takes does not depend on the weights."""
    torch.manual_seed(0)
    return DCNetPipeline(DCNet(image_size=128, width=32).eval(), shipped_pipeline)


def test_driving_frame(pipeline):
    """Tracking, conditions, network and paste-back at 256 px, beside FOMM's generator and one pass of ResNet-50."""
    portrait = pipeline.prepare(load_image(ASTRONAUT), box=BOX, size=256)
    video = Pictures(open_video(TALKING))
    batches = [[frame.image for frame in batch] for batch in islice(video.batches(), 4)]
    video.close()
    tracker = FaceTracker(pipeline.reconstruction)
    seen = [sighting.motion for images in batches for sighting in tracker.follow_all(images)]
    motions = [replace(portrait.motion, expression=motion.expression) for motion in seen[:FRAMES]]
    patch = portrait.draw(motions)[0]
    backbone = RecNet().eval().backbone
    crop, picture, fomm = torch.rand(1, 3, 224, 224), torch.rand(1, 3, 256, 256), fomm_generator()
    with torch.inference_mode():
        alone, generator, drawn, tracked, pasted = milliseconds(
            lambda: backbone(crop),
            lambda: fomm(picture),
            lambda: portrait.draw(motions),
            lambda: [tracker.follow_all(images) for images in batches],
            lambda: portrait.paste(patch),
            repeats=5,
        )
    drawn, tracked = drawn / FRAMES, tracked / sum(map(len, batches))
    whole = drawn + tracked + pasted
    print(
        f"\na driving frame {whole:.0f} ms: tracking {tracked:.0f}, drawing {drawn:.0f}, pasting {pasted:.0f}; "
        f"ResNet-50 {alone:.0f} ms, {whole / alone:.1f} times; FOMM's generator {generator:.0f} ms, "
        f"{whole / generator:.3f} times"
    )
    assert whole < 2 * alone and whole < generator / 5


class ResidualBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.BatchNorm2d(256), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1)) for _ in range(2))
        )

    def forward(self, x):
        return x + self.layers(x)


def fomm_generator() -> nn.Module:
    """FOMM's generator at 256 px without its keypoints, motion and occlusion: 49 of the 55 GMAC of its networks."""

    def block(inputs, outputs, size=3):
        return [nn.Conv2d(inputs, outputs, size, padding=size // 2), nn.BatchNorm2d(outputs), nn.ReLU()]

    down = [*block(64, 128), nn.AvgPool2d(2), *block(128, 256), nn.AvgPool2d(2)]
    up = [nn.Upsample(scale_factor=2), *block(256, 128), nn.Upsample(scale_factor=2), *block(128, 64)]
    middle = [ResidualBlock() for _ in range(6)]
    return nn.Sequential(*block(3, 64, 7), *down, *middle, *up, nn.Conv2d(64, 3, 7, padding=3), nn.Sigmoid()).eval()


def test_landmark_picture_against_fomm(shipped_pipeline):
    """LI-Net's T, lifter, R and G on one driving face at 256 px, the photo being known, beside FOMM's generator."""
    torch.manual_seed(0)
    perceptrons = (LandmarkTransformer(), LandmarkLifter())
    drawers = (kind(image_size=128, width=32) for kind in (FaceRotator, ExpressionGenerator))
    pipeline = LINetPipeline(*(net.eval() for net in (*perceptrons, *drawers)), shipped_pipeline)
    portrait = pipeline.prepare(load_image(ASTRONAUT), box=BOX, size=256)
    points, generator, picture = portrait.motion.landmarks, fomm_generator(), torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        fomm, drawn = milliseconds(lambda: generator(picture), lambda: pipeline(portrait, points), repeats=5)
    print(f"\na picture by landmarks {drawn:.0f} ms; FOMM's generator {fomm:.0f} ms, {drawn / fomm:.2f} times")
    assert drawn < 0.6 * fomm
