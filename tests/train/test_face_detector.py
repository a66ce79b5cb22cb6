"""The face detector's training: its losses, that it learns, and the script as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lirec.models.face_detector import STRIDE, FaceDetector, FaceDetectorOutput
from lirec.models.weights import load_model
from lirec.processing.detection import Detection
from tests.train.data.test_scenes import drawn_faces
from train.data.scenes import EMPTY, FACE, UNSURE, FacePool, Scenery, Scenes, compose_scenes
from train.face_detector import detection_losses, evaluate, generalised_iou, match

ROOT = Path(__file__).parents[2]
MORPHABLE_MODEL = ROOT / "hub" / "rec-aug-net" / "morphable_model"


def one_face(state=FACE):
    boxes = torch.zeros(1, 4, 4)
    boxes[0, 0] = torch.tensor([20.0, 12.0, 60.0, 60.0])
    keypoints = torch.zeros(1, 4, 5, 2)
    keypoints[0, 0] = torch.tensor([[30.0, 25], [50, 25], [40, 35], [32, 48], [48, 48]])
    states = torch.tensor([[state, EMPTY, EMPTY, EMPTY]])
    return Scenes(torch.rand(1, 3, 96, 96), boxes, keypoints, states)


def answer(scenes, row, column, score=8.0):
    """An output that is sure of the scenes' first face, in one cell."""
    cells = 96 // STRIDE
    heat = torch.full((1, cells, cells), -8.0)
    heat[0, row, column] = score
    boxes = scenes.boxes[:, 0, :, None, None].expand(1, 4, cells, cells)
    keypoints = scenes.keypoints[:, 0, :, :, None, None].expand(1, 5, 2, cells, cells)
    return FaceDetectorOutput(heat=heat, boxes=boxes.clone(), keypoints=keypoints.clone())


def test_losses_vanish_for_the_truth_and_grow_with_errors():
    scenes = one_face()
    right = detection_losses(answer(scenes, row=4, column=5), scenes)  # its middle is (40, 36)
    assert all(value < 2e-2 for value in right.values()), right
    wrong_place = detection_losses(answer(scenes, row=9, column=1), scenes)
    assert wrong_place["heat"] > 5
    moved = answer(scenes, row=4, column=5)
    moved.boxes += 10
    moved.keypoints += 10
    losses = detection_losses(moved, scenes)
    assert losses["box"] > 0.3 and losses["keypoints"] > 0.3
    assert losses["heat"] == right["heat"]


def test_what_is_unsure_or_empty_asks_for_nothing():
    scenes = one_face(UNSURE)
    for score in (8.0, -8.0):  # found or not: both are right
        losses = detection_losses(answer(scenes, row=4, column=5, score=score), scenes)
        assert losses["heat"] < 1e-2 and losses["box"] == 0 and losses["keypoints"] == 0
    scenes = one_face(EMPTY)
    assert detection_losses(answer(scenes, row=4, column=5), scenes)["heat"] > 5


def test_generalised_iou():
    box = torch.tensor([[0.0, 0, 2, 2]])
    others = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 2], [2, 0, 4, 2], [6, 0, 8, 2]])
    assert generalised_iou(box.expand(4, 4), others).tolist() == pytest.approx([1, 0.5, 0, -0.5])


def test_matches():
    faces = np.array([[0.0, 0, 20, 20], [40, 0, 60, 20]])
    unsure = np.array([[6.0, 0, 26, 20], [80, 0, 90, 10]])  # the first covers half of a face
    hit, double, astray, wrong = (
        Detection(np.array(box, np.float32), 0.9)
        for box in ([0, 0, 20, 20], [1, 0, 21, 20], [80, 0, 90, 10], [100, 0, 110, 10])
    )
    assert match([hit, astray, wrong], faces, unsure) == ([1.0], [hit, wrong])
    assert match([hit, double], faces[:1], unsure[1:]) == ([1.0], [hit, double])
    assert match([], faces, unsure) == ([], [])


def test_it_learns_a_few_scenes():
    torch.manual_seed(0)
    scenes = compose_scenes(FacePool(drawn_faces()), Scenery(), 12, seed=1, size=96)
    model = FaceDetector(channels=32, stem_channels=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        sum(detection_losses(model(scenes.image), scenes).values()).backward()
        optimizer.step()
    figures, marked = evaluate(model.eval(), scenes)
    assert marked.shape == scenes.image.shape
    assert figures["recall"] > 0.7 and figures["precision"] > 0.8 and figures["iou"] > 0.65, figures


@pytest.mark.skipif(not MORPHABLE_MODEL.is_dir(), reason="the morphable model is not built")
def test_the_script_trains_and_resumes(tmp_path):
    def train(*arguments):
        command = [
            sys.executable,
            "-m",
            "train.face_detector",
            "--cpu",
            "--output",
            str(tmp_path),
            *arguments,
        ]
        command += ["--batch-size", "2", "--size", "64", "--face-size", "64", "--pool", "8", "--fresh", "2"]
        command += ["--validation-scenes", "4"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)

    done = train("--steps", "2")
    assert done.returncode == 0 and "validation.recall" in done.stdout, done.stderr
    assert (tmp_path / "pictures" / "found.png").is_file()
    done = train("--steps", "3", "--resume")
    assert done.returncode == 0 and "step 3 " in done.stdout, done.stderr
    model = load_model(FaceDetector, tmp_path / "face_detector")
    assert model(torch.rand(1, 3, 64, 64)).heat.shape == (1, 8, 8)
