"""Meshes against true surfaces: the protocol, the methods, and the tables."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from lirec import LirecError
from lirec.models.et_net import ETNet
from lirec.models.weights import save_model
from tests.conftest import SHIPPED
from train.data.facewarehouse import EXPRESSIONS
from train.data.scans import Scan
from train.evaluate import meshes, reconstruction
from train.evaluate.meshes import PROTOCOLS, TABLE_4, evaluate, open_methods, rendered_scans, surface_distances


@pytest.fixture(scope="module")
def scans(morphable_model):
    """A person in twenty expressions, each with a picture."""
    return list(rendered_scans(morphable_model, 1))


class Says:
    """A method that says of each picture what it is told."""

    def __init__(self, name, pipeline, shapes):
        self.name, self.pipeline, self.shapes = name, pipeline, shapes

    def __call__(self, images, boxes):
        assert all(box.min() >= 0 and box.max() <= image.shape[0] for image, box in zip(images, boxes, strict=True))
        return [type("Face", (), {"vertices": self.shapes.pop(0)}) for _ in images]


def shape_of(model, scan, strength=1.0):
    """(V, 3) the mesh of a rendered scan, the expression weaker."""
    pose = meshes.POSES[scan.name.partition("/")[2]]
    expression = torch.tensor([[max((v for n, v in pose.items() if name in (n, n + "Left", n + "Right")), default=0.0)
                                for name in model.expression_names]])  # fmt: skip
    face = model.select_vertices("skin", "lips", "brows")
    moved = model(torch.zeros(1, 80), (strength - 1) * expression)[0] - model.mean_vertices
    shape = model.mean_vertices.clone()
    shape[face] = torch.from_numpy(scan.points).float()
    return (shape + moved).numpy()


def test_rendered_scans(scans, morphable_model):
    assert [scan.name for scan in scans] == [f"0/{pose}" for pose in EXPRESSIONS] == [f"0/{p}" for p in meshes.POSES]
    first = scans[0]
    assert first.image.shape == (224, 224, 3) and first.image.std() > 10
    np.testing.assert_allclose(first.landmarks[13], scans[5].landmarks[13], atol=0.01)  # the tip of the nose
    chin = [scan.points[:, 1].min() for scan in scans[:2]]
    assert first.cropped(0.085).shape[0] > 500 and chin[0] != chin[1]


def test_the_same_surface_elsewhere_is_at_no_distance(scans, morphable_model):
    scan, turn = scans[2], Rotation.from_euler("xyz", [0.4, -0.7, 2]).as_matrix()
    moved = Scan(scan.image, scan.points @ turn.T + 5, scan.numbers, scan.landmarks @ turn.T + 5, "moved")
    shape = shape_of(morphable_model, scan)
    for mesh in (shape, 1.3 * shape):
        distances = surface_distances(moved, mesh, morphable_model, PROTOCOLS["open"])
        assert distances.max() < 0.01 and len(distances) == len(scan.cropped(0.085))


def test_a_wrong_mesh_is_far_in_millimetres_of_the_scan(scans, morphable_model):
    scan = scans[1]  # the mouth is open
    closed = surface_distances(scan, shape_of(morphable_model, scan, 0.0), morphable_model, PROTOCOLS["open"])
    half = surface_distances(scan, shape_of(morphable_model, scan, 0.5), morphable_model, PROTOCOLS["open"])
    assert 1 < half.square().mean().sqrt() < closed.square().mean().sqrt() < 15
    double = Scan(scan.image, 2 * scan.points, scan.numbers, 2 * scan.landmarks, "double")
    protocol = meshes.Protocol("", 0.17, "RMSE", ("RMSE",), {})
    twice = surface_distances(double, shape_of(morphable_model, scan, 0.5), morphable_model, protocol)
    assert float(twice.mean()) == pytest.approx(2 * float(half.mean()), rel=0.05)


def test_table(scans, morphable_model, untrained_pipeline):
    chosen = scans[:3]
    methods = [
        Says("RecAugNet", untrained_pipeline, [shape_of(morphable_model, scan) for scan in chosen]),
        Says("Weak", untrained_pipeline, [shape_of(morphable_model, scan, 0.5) for scan in chosen]),
    ]
    report = evaluate(iter([chosen[0], None, *chosen[1:]]), methods, PROTOCOLS["open"], batch=2)
    best, weak = report["RecAugNet, RMSE"], report["Weak, RMSE"]
    assert best.result < 0.01 < 0.2 < weak.result < best.baseline
    assert best.others["RMSE, PAPER"] == 1.78 and best.samples == 3 and best.others["80 %"] < 0.01
    assert np.isnan(report["DECA, RMSE"].result) and np.isnan(weak.others["RMSE, PAPER"])
    assert {name for name in TABLE_4 if f"{name}, RMSE" in str(report)} == set(TABLE_4)
    assert report["Weak, RMSE of corresponding vertices"].result > weak.result
    by_expression = report.details["RMSE by expression, Weak"]
    assert list(by_expression) == list(EXPRESSIONS[:3]) and by_expression["neutral"] < 0.01 < by_expression["smile"]
    assert report.details["photos without a face"] == {"count": 1}


def test_methods(untrained_pipeline, tmp_path):
    untrained_pipeline.save_pretrained(tmp_path / "pipeline")
    save_model(untrained_pipeline.rec_net, tmp_path / "baseline" / "rec_net")
    et_net = ETNet(32, depths=(1, 1), hidden_sizes=(8, 16), embedding_size=8)
    save_model(et_net, tmp_path / "copy" / "et_net")
    (tmp_path / "empty").mkdir()
    weights = str(tmp_path / "pipeline")
    texts = [f"{name}={tmp_path / folder}" for name, folder in (("Baseline", "baseline"), ("RecCopyNet", "copy"))]
    baseline, copy, rec_net = open_methods([*texts, f"RecNet={weights}:recnet"], weights)
    assert (baseline.augmented, copy.augmented, rec_net.augmented) == (False, True, False)
    assert copy.pipeline.et_net is not None and baseline.pipeline.et_net is None
    for wrong, message in (
        (["RecNet"], "NAME=FOLDER"),
        ([f"a={weights}:fast"], "NAME=FOLDER"),
        ([f"a={weights}"], "no et_net"),
        ([f"a={tmp_path / 'empty'}"], "neither"),
        ([f"a={weights}:recnet"] * 2, "Two methods"),
    ):
        with pytest.raises(LirecError, match=message):
            open_methods(wrong, weights)


@pytest.fixture(scope="module")
def facewarehouse(scans, tmp_path_factory):
    """FaceWarehouse with one photo of a face, and one without."""
    root = tmp_path_factory.mktemp("facewarehouse")
    folder = root / "Tester_1" / "TrainingPose"
    folder.mkdir(parents=True)
    for pose, picture in ((0, scans[0].image), (1, np.full((96, 96, 3), 90, np.uint8))):
        points = 10 * np.concatenate((scans[0].landmarks, scans[0].points))
        (folder / f"pose_{pose}.obj").write_text("".join(f"v {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in points))
        Image.fromarray(picture).save(folder / f"pose_{pose}.png")
    (root / "landmark_vertices.txt").write_text("".join(f"{17 + row} {row}\n" for row in range(51)))
    return root


def test_script(facewarehouse, tmp_path, capsys):
    arguments = ["--protocol", "facewarehouse", "--root", str(facewarehouse), "--weights", str(SHIPPED)]
    report = reconstruction.main([*arguments, "--json", str(tmp_path / "out.json")])
    assert report.command == "python -m train.evaluate.meshes --protocol facewarehouse --root DIR"
    assert 0 < report["RecNet, RMSE"].result < 6 and report["RecNet, RMSE"].samples == 1
    assert report.details["photos without a face"] == {"count": 1}
    assert re.search(r"MGCNet, RMSE +- .*1\.97", capsys.readouterr().out)
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert next(row for row in rows if row["figure"] == "DECA, RMSE")["result"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "frgc"], "--root"),
        (["--root", "x"], "--protocol"),
        (["--count", "0"], "--count must be 1 or more"),
        (["--protocol", "frgc", "--root", "nowhere", "--weights", str(SHIPPED)], "FRGC v2.0 is not in nowhere"),
    ],
)
def test_wrong_options_give_a_sentence(arguments, message):
    with pytest.raises(LirecError, match=message):
        meshes.main(arguments)
