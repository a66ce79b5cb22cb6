"""Expression pairs: what is drawn, its truth, and the folder that training reads."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lirec import DCNetPipeline, LirecError
from lirec.geometry import euler_to_matrix, project
from lirec.models.dc_net import LAYERS, DCNet
from tests.pipelines.clips import FACE, wander
from train.data import open_dataset
from train.data.cache import CachedFaces
from train.data.folder import write_table
from train.make_expression_pairs import PhotoSources, RenderedSources, cut_out, main
from train.rec_net import crop_camera


@pytest.fixture(scope="module")
def dc_net():
    """A tiny DCNet whose last layers only let warped pixels through."""
    torch.manual_seed(0)
    network = DCNet(image_size=32, width=16).eval()
    with torch.no_grad():
        for head in (network.to_adjustments, network.to_layers):
            head.weight.mul_(0.1)
        network.to_layers.bias[3 + LAYERS.index("warped")] = 4.0
    return network


def expressions(names, *chosen):
    values = np.zeros((len(chosen), len(names)), np.float32)
    for row, name in enumerate(chosen):
        values[row, names.index(name)] = 0.9
    return values


def landmarks_of(batch, model):
    """(B, 68, 2) px: where the truth says that the landmarks are."""
    vertices = model(batch.identity, batch.expression)
    size = batch.image.shape[3]
    camera = crop_camera(batch.focal, size)
    points = project(vertices, euler_to_matrix(batch.angles), batch.translation, camera)
    return model.landmarks(points, batch.angles)


@pytest.fixture(scope="module")
def wanted(morphable_model):
    return expressions(morphable_model.expression_names, "jawOpen", "mouthPucker", "browInnerUp")


@pytest.fixture(scope="module")
def batches(morphable_model, dc_net, wanted):
    """The same person in the same expressions, by DCNet and rendered."""
    made = {}
    for name, network in (("dcnet", dc_net), ("mesh", None)):
        made[name] = cut_out(*RenderedSources(morphable_model, 96, 5, network).pictures(3, wanted), 64)
    return made


@pytest.mark.parametrize("renderer", ["dcnet", "mesh"])
def test_the_truth_belongs_to_the_pictures(batches, morphable_model, wanted, renderer):
    batch = batches[renderer]
    assert batch.image.shape == (3, 3, 64, 64) and batch.identity_number.unique().numel() == 1
    np.testing.assert_allclose(batch.expression, wanted)
    for name in ("identity", "angles", "translation", "light", "albedo_coefficients"):
        value = getattr(batch, name)
        torch.testing.assert_close(value, value[:1].expand_as(value), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(landmarks_of(batch, morphable_model), batch.landmarks, atol=0.3, rtol=0)
    assert batch.landmarks.min() > 0 and batch.landmarks.max() < 64


def test_dcnet_and_the_mesh_tell_the_same(batches):
    drawn, rendered = batches["dcnet"], batches["mesh"]
    for name in ("identity", "expression", "translation", "focal", "light", "landmarks"):
        torch.testing.assert_close(getattr(drawn, name), getattr(rendered, name), atol=1e-3, rtol=1e-3)
    same = (drawn.image - rendered.image).abs().mean()
    other = (drawn.image - rendered.image.roll(1, 0)).abs().mean()
    assert same < 0.8 * other and same < 0.05


def test_photos(shipped_pipeline, dc_net, wanted, tmp_path):
    Image.fromarray(wander(0)).save(tmp_path / "face.png")
    Image.new("RGB", (80, 60), (90, 120, 150)).save(tmp_path / "empty.png")
    x1, y1, x2, y2 = FACE
    corners = np.array([[x1, y1], [x2, y2]], np.float32)
    write_table(tmp_path / "landmarks68.csv", {"face.png": corners[np.arange(68) % 2]})
    sources = PhotoSources(open_dataset("folder", tmp_path), DCNetPipeline(dc_net, shipped_pipeline), 0)
    numbers = set()
    for number in range(2):  # the empty one is passed over
        faces, person = sources.pictures(number, wanted)
        numbers.add(person)
    batch = cut_out(faces, person, 64)
    assert len(numbers) == 1 and len(sources.faceless) == 1
    points = landmarks_of(batch, shipped_pipeline.morphable_model)
    torch.testing.assert_close(points, batch.landmarks, atol=0.3, rtol=0)
    assert batch.landmarks[0, 8, 1] > batch.landmarks[1, 8, 1] + 1  # the chin, of an open mouth and of a closed one
    (tmp_path / "face.png").unlink()
    with pytest.raises(LirecError, match="None of the 1 photos"):
        PhotoSources(open_dataset("folder", tmp_path), sources.pipeline, 0).pictures(0, wanted)


def test_script(tmp_path, capsys):
    arguments = ["--renderer", "mesh", "--output", str(tmp_path), "--shard_size", "5", "--per_source", "2"]
    arguments += ["--size", "48", "--device", "cpu", "--pictures"]
    main([*arguments, "4"])
    first = (tmp_path / "truth_000_00000.npz").read_bytes()
    main([*arguments, "8"])
    assert (tmp_path / "truth_000_00000.npz").read_bytes() == first and capsys.readouterr().out.count("shard 1") == 1
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert list(content["shards"]) == ["000_00000", "000_00001"] and content["settings"]["shard_size"] == 4
    batch = next(iter(CachedFaces(tmp_path, 4, people=2)))
    assert batch.image.shape == (4, 3, 48, 48) and 0 < batch.image.std() < 0.5
    assert (batch.identity_number[::2] == batch.identity_number[1::2]).all()
    assert not torch.equal(batch.expression[0], batch.expression[1])
    with pytest.raises(LirecError, match="made with another seed"):
        main([*arguments, "8", "--seed", "1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--per_source", "0"], "per_source"),
        (["--data", "folder"], "--root"),
        (["--root", "somewhere"], "--data"),
        (["--data", "folder", "--root", ".", "--renderer", "mesh"], "dcnet"),
        (["--takes_share", "2"], "between 0 and 1"),
        (["--weights", "no/such/weights/at/all"], "no/such/weights/at/all"),
    ],
)
def test_wrong_options_give_a_sentence(tmp_path, arguments, message):
    with pytest.raises(LirecError, match=message):
        main(["--output", str(tmp_path / "pairs"), *arguments])
    assert not (tmp_path / "pairs").exists()
