"""From photos to faces and files."""

import json
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree

from lirec import LirecError, RecAugNetPipeline
from lirec.geometry import project, shade
from lirec.models.et_net import ETNet
from lirec.pipelines.reconstruction import _turn_light
from lirec.processing.crop import Crop
from lirec.processing.detection import Detection, overlap
from lirec.processing.image import load_image
from tests.conftest import SHIPPED
from tests.processing.glb import accessor

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
ASTRONAUT = [177, 72, 268, 170]  # her face box in examples/astronaut.jpg
BOXES = [[30, 40, 90, 110], [200.5, 20.2, 280, 130]]


@pytest.fixture(scope="module")
def picture():
    """(180, 320, 3) uint8: smooth noise, for networks that know no faces anyway."""
    noise = np.random.default_rng(0).integers(0, 256, (18, 32, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((320, 180), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def faces(untrained_pipeline, picture):
    return untrained_pipeline(picture, boxes=BOXES).faces


def projected(face):
    """(V, 2) px: the vertices where the face's own camera sees them."""
    values = (face.vertices, face.rotation, face.translation, face.intrinsics)
    return project(*(torch.from_numpy(value)[None] for value in values))[0, :, :2].numpy()


# What comes out -------------------------------------------------------------------------------------------------------


def test_shapes_and_ranges(faces, morphable_model):
    for face in faces:
        assert face.landmarks.shape == (68, 2) and face.vertices.shape == (morphable_model.config.vertex_count, 3)
        assert (face.identity.shape, face.expression.shape, face.albedo.shape) == ((80,), (51,), (64,))
        assert face.rotation.shape == face.intrinsics.shape == (3, 3) and face.translation.shape == (3,)
        assert face.light.shape == (9, 3) and face.angles.shape == (3,) and face.box.shape == (4,)
        assert face.expression.min() >= 0 and face.expression.max() <= 1
        assert face.score == 1
        np.testing.assert_allclose(face.rotation @ face.rotation.T, np.eye(3), atol=1e-5)
        for value in vars(face).values():
            if isinstance(value, np.ndarray) and value.dtype != np.uint8:
                assert value.dtype == np.float32 and np.isfinite(value).all()


def test_given_boxes_keep_their_order(untrained_pipeline, picture, faces):
    for face, box in zip(faces, BOXES, strict=True):
        corners, (left, top, right, bottom) = face.box.reshape(2, 2), box
        assert np.hypot(*(corners.mean(0) - ((left + right) / 2, (top + bottom) / 2))) < bottom - top
    turned = untrained_pipeline(picture, boxes=BOXES[::-1]).faces
    for face, other in zip(faces, turned[::-1], strict=True):
        np.testing.assert_allclose(face.vertices, other.vertices, atol=1e-5)
        np.testing.assert_allclose(face.landmarks, other.landmarks, atol=1e-2)


def test_list_of_pictures(untrained_pipeline, picture, faces):
    outputs = untrained_pipeline([picture, picture[:, ::-1].copy(), picture], boxes=[BOXES, [], BOXES[:1]])
    assert [len(output.faces) for output in outputs] == [2, 0, 1]
    for face in (outputs[0].faces[0], outputs[2].faces[0]):
        np.testing.assert_allclose(face.landmarks, faces[0].landmarks, atol=1e-2)
    assert untrained_pipeline([], boxes=[]) == []


def test_any_picture_source(untrained_pipeline, picture, faces, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png")
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255
    for source in (tmp_path / "a.png", Image.fromarray(picture), (tmp_path / "a.png").read_bytes(), tensor):
        output = untrained_pipeline(source, boxes=BOXES)
        np.testing.assert_array_equal(output.image, picture)
        np.testing.assert_allclose(output.faces[1].vertices, faces[1].vertices, atol=1e-6)


def test_vertices_project_onto_landmarks(faces, morphable_model):
    for face in faces:
        points = projected(face)
        fixed = points[morphable_model.landmark_vertices[17:].numpy()]
        np.testing.assert_allclose(fixed, face.landmarks[17:], atol=0.02)
        # each point of the jaw line is one of the vertices that it may choose from
        candidates = points[morphable_model.contour_vertices.numpy()]
        nearest = np.linalg.norm(candidates - face.landmarks[:17, None], axis=2).min(1)
        assert nearest.max() < 0.02
        np.testing.assert_allclose(face.box, [*face.landmarks.min(0), *face.landmarks.max(0)], atol=1e-3)


def test_turned_crops_give_the_same_pose(untrained_pipeline, picture):
    """What a network sees upright in a turned crop stands turned in the picture."""
    crop = Crop((160, 90), 120, 0.6)
    image = np.ascontiguousarray(picture)
    with torch.no_grad():
        output = untrained_pipeline.regress(untrained_pipeline._patches([image], [crop], 48))
        face = untrained_pipeline._faces(output, [crop], [image])[0]
    roll = face.angles[2] - output.angles[0, 2].item()
    assert roll == pytest.approx(0.6, abs=1e-4)
    np.testing.assert_allclose(face.angles[:2], output.angles[0, :2].numpy(), atol=1e-4)
    fixed = projected(face)[untrained_pipeline.morphable_model.landmark_vertices[17:].numpy()]
    np.testing.assert_allclose(fixed, face.landmarks[17:], atol=0.02)


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.1])
def test_light_turns_with_the_camera(angle):
    """A normal and the light on it, both turned, meet as before."""
    generator = torch.Generator().manual_seed(1)
    light = torch.randn(9, 3, generator=generator)
    normals = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator), dim=1)
    turn, _, _ = Crop((0, 0), 1, angle).to_image_camera(np.eye(3), np.zeros(3), 1.0)
    turned_normals = normals @ torch.from_numpy(turn).float().T
    turned_light = torch.from_numpy(_turn_light(light.numpy(), angle))
    before = shade(normals[None], light[None])
    after = shade(turned_normals[None], turned_light[None])
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


# Mirror images --------------------------------------------------------------------------------------------------------


def test_mirrored_crops_give_mirrored_faces(untrained_pipeline, morphable_model):
    crops = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        plain, flipped = untrained_pipeline.regress(crops), untrained_pipeline.regress(crops.flip(3))
    torch.testing.assert_close(flipped.angles, plain.angles * torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(flipped.translation, plain.translation * torch.tensor([-1.0, 1.0, 1.0]))
    torch.testing.assert_close(flipped.focal, plain.focal)
    shapes = [morphable_model(output.identity, output.expression) for output in (plain, flipped)]
    mirrored = shapes[0][:, morphable_model.mirror_vertices] * torch.tensor([-1.0, 1.0, 1.0])
    assert (mirrored - shapes[1]).abs().max() < 1e-3
    normals = torch.nn.functional.normalize(torch.randn(2, 20, 3), dim=2)
    opposite = normals * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(shade(opposite, flipped.light), shade(normals, plain.light), atol=1e-5, rtol=1e-5)
    textures = [morphable_model.albedo(output.albedo) for output in (plain, flipped)]
    assert (textures[0] - textures[1]).abs().mean() < 0.02  # the skin's two halves swap


def test_mirror_average_is_the_average_of_both_looks(untrained_pipeline):
    crops = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        both = untrained_pipeline.regress(crops)
        one = untrained_pipeline.regress(crops, mirror_average=False)
        other = untrained_pipeline.regress(crops.flip(3), mirror_average=False)
    torch.testing.assert_close(both.angles[:, 0], (one.angles[:, 0] + other.angles[:, 0]) / 2)
    torch.testing.assert_close(both.angles[:, 1], (one.angles[:, 1] - other.angles[:, 1]) / 2)
    torch.testing.assert_close(both.light[:, 0], (one.light[:, 0] + other.light[:, 0]) / 2)
    assert (one.angles - both.angles).abs().max() > 1e-4


# Expressions of another network --------------------------------------------------------------------------------------


def test_expressions_come_from_et_net_where_there_is_one(untrained_pipeline, picture):
    torch.manual_seed(1)
    et_net = ETNet(32, depths=(1, 1), hidden_sizes=(8, 16), embedding_size=8).eval()
    torch.nn.init.uniform_(et_net.head.bias, 0.1, 0.9)
    parts = untrained_pipeline.rec_net, untrained_pipeline.morphable_model
    pipeline = RecAugNetPipeline(*parts, et_net=et_net)
    box = BOXES[:1]
    augmented = pipeline(picture, boxes=box).faces[0]
    plain = pipeline(picture, boxes=box, augmented=False).faces[0]
    np.testing.assert_allclose(plain.expression, untrained_pipeline(picture, boxes=box).faces[0].expression)
    bias = et_net.head.bias.detach()[80:131]
    mirrored = (bias + bias[pipeline.morphable_model.expression_mirror]) / 2
    np.testing.assert_allclose(augmented.expression, mirrored.numpy(), atol=0.1)
    np.testing.assert_allclose(augmented.identity, plain.identity)
    assert np.abs(augmented.vertices - plain.vertices).max() > 1e-3


def test_landmarks_are_the_mean_of_what_both_networks_see(untrained_pipeline, picture, monkeypatch):
    torch.manual_seed(1)
    parts = untrained_pipeline.rec_net, untrained_pipeline.morphable_model
    et_net = ETNet(32, depths=(1, 1), hidden_sizes=(8, 16), embedding_size=8).eval()
    pipeline = RecAugNetPipeline(*parts, et_net=et_net)
    seen = []
    monkeypatch.setattr(pipeline, "_landmarks", lambda *given: seen.append(found(*given)) or seen[-1])
    found = untrained_pipeline._landmarks
    face = pipeline(picture, boxes=BOXES[:1]).faces[0]
    theirs, ours = seen[-2][0], seen[-1][0]
    assert np.abs(ours - theirs).max() > 1
    np.testing.assert_allclose(face.landmarks, (ours + theirs) / 2, atol=1e-3)
    np.testing.assert_allclose(face.box, [*face.landmarks.min(0), *face.landmarks.max(0)], atol=1e-3)


# Pictures of faces ----------------------------------------------------------------------------------------------------


def test_pictures(faces, picture):
    face = faces[1]
    overlay = face.overlay()
    mask = face.render(textured=False).mask[0, 0].numpy() > 0
    assert overlay.shape == picture.shape and 0.01 < mask.mean() < 0.9
    np.testing.assert_array_equal(overlay[~mask], picture[~mask])
    assert (overlay[mask] != picture[mask]).any(1).mean() > 0.95
    for drawn in (face.normal_map(), face.albedo_map()):
        assert drawn.shape == (*picture.shape[:2], 4)
        np.testing.assert_array_equal(drawn[..., 3] > 0, mask)
    blue = face.normal_map()[mask][:, 2]
    assert np.median(blue) > 150  # most of what is seen looks at the viewer


def test_parts(faces, morphable_model):
    face = faces[0]
    mean = morphable_model.mean_vertices.numpy()
    identity, expression, albedo = (face.only(name) for name in ("identity", "expression", "albedo"))
    np.testing.assert_allclose(albedo.vertices, mean, atol=1e-6)
    # what the two parts add to the mean face is what the whole adds
    np.testing.assert_allclose(identity.vertices + expression.vertices - mean, face.vertices, atol=1e-6)
    assert not identity.expression.any() and not expression.identity.any() and not expression.albedo.any()
    np.testing.assert_array_equal(albedo.albedo, face.albedo)
    np.testing.assert_allclose(face.only("identity", "expression").vertices, face.vertices, atol=1e-6)
    with pytest.raises(LirecError, match="parts are identity, expression, albedo, not pose"):
        face.only("pose")
    texture = albedo.albedo_texture(64)
    assert texture.shape == (64, 64, 3) and texture.dtype == np.uint8 and texture.std() > 5
    assert (texture != expression.albedo_texture(64)).any()


def test_close_up(faces):
    close = faces[1].close_up(256)
    assert close.image.shape == (256, 256, 3)
    window = Crop(((close.box[0] + close.box[2]) / 2, (close.box[1] + close.box[3]) / 2), 256)
    assert 0 < window.centre[0] < 256 and 0 < window.centre[1] < 256
    fixed = projected(close)[close.model.landmark_vertices[17:].numpy()]
    np.testing.assert_allclose(fixed, close.landmarks[17:], atol=0.02)
    np.testing.assert_array_equal(close.vertices, faces[1].vertices)


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for ending in ("glb", "obj", "ply", "json"):
        assert faces[0].save(folder / f"face.{ending}", texture_size=256) == folder / f"face.{ending}"
    return folder


def test_glb_gives_the_face_back(faces, saved, morphable_model):
    document = pygltflib.GLTF2().load(saved / "face.glb")
    mesh = document.meshes[0]
    primitive = mesh.primitives[0]
    assert mesh.extras["targetNames"] == list(faces[0].expression_names) == list(morphable_model.expression_names)
    np.testing.assert_allclose(mesh.weights, faces[0].expression, atol=1e-6)
    posed = accessor(document, primitive.attributes.POSITION).copy()
    for weight, target in zip(mesh.weights, primitive.targets, strict=True):
        posed += weight * accessor(document, target["POSITION"])
    for ours, theirs in ((faces[0].vertices, posed), (posed, faces[0].vertices)):
        assert cKDTree(theirs).query(ours)[0].max() < 2e-5
    triangles = accessor(document, primitive.indices).reshape(-1, 3)
    assert len(triangles) == len(morphable_model.triangles)
    view = document.bufferViews[document.images[0].bufferView]
    assert view.byteLength > 1000


@pytest.mark.parametrize("ending", ["obj", "ply"])
def test_other_meshes_show_the_expression(faces, saved, ending):
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.load(saved / f"face.{ending}", force="mesh", process=False)
    assert cKDTree(mesh.vertices).query(faces[0].vertices)[0].max() < 2e-5
    if ending == "obj":
        assert (saved / "face.mtl").is_file() and Image.open(saved / "face.png").size == (256, 256)
    else:
        assert mesh.visual.vertex_colors.std() > 1


def test_json_holds_the_coefficients(faces, saved):
    values = json.loads((saved / "face.json").read_text())
    assert tuple(values["expression"]) == faces[0].expression_names
    np.testing.assert_allclose(values["identity"], faces[0].identity, atol=1e-5)
    np.testing.assert_allclose(values["landmarks"], faces[0].landmarks, atol=1e-3)
    assert np.shape(values["light"]) == (9, 3)


def test_clay_has_no_texture(faces):
    mesh = faces[0].mesh(textured=False)
    assert mesh.texture is None and mesh.colours.shape == mesh.vertices.shape


@pytest.mark.parametrize("name", ["face.stl", "face", "missing/face.glb", "missing/face.json"])
def test_cannot_be_saved(faces, tmp_path, name):
    with pytest.raises(LirecError):
        faces[0].save(tmp_path / name, texture_size=64)


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "boxes", [[[1, 2, 3]], [[1, 2], [3, 4]], "here", [["a", "b", "c", "d"]], [[1, 2, float("nan"), 4]], [5, 6, 7, 8]]
)
def test_boxes_of_a_wrong_form(untrained_pipeline, picture, boxes):
    with pytest.raises(LirecError, match="Boxes are a list of"):
        untrained_pipeline(picture, boxes=boxes)


@pytest.mark.parametrize("box", [[50, 50, 50, 90], [90, 50, 50, 90], [0, 0, 0, 0]])
def test_boxes_without_area(untrained_pipeline, picture, box):
    with pytest.raises(LirecError, match="x1 < x2"):
        untrained_pipeline(picture, boxes=[box])


def test_boxes_beside_the_picture(untrained_pipeline, picture):
    with pytest.raises(LirecError, match="outside its picture, which is 320 x 180 px"):
        untrained_pipeline(picture, boxes=[BOXES[0], [-300, 20, -200, 130]])


def test_as_many_boxes_as_pictures(untrained_pipeline, picture):
    with pytest.raises(LirecError, match="2 pictures but boxes for 1"):
        untrained_pipeline([picture, picture], boxes=[BOXES])


def test_no_boxes_and_no_detector(untrained_pipeline, picture, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(LirecError, match="There is no face detector"):
        untrained_pipeline(picture)


def test_broken_picture(untrained_pipeline, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(LirecError, match="picture format"):
        untrained_pipeline(tmp_path / "a.jpg", boxes=BOXES)


def test_no_weights(tmp_path):
    with pytest.raises(LirecError, match="holds no RecAugNetPipeline"):
        RecAugNetPipeline.from_pretrained(tmp_path)


# With the weights that are shipped ------------------------------------------------------------------------------------


def test_found_face(shipped_pipeline):
    (face,) = shipped_pipeline(EXAMPLES / "astronaut.jpg").faces
    assert overlap(face.box, np.float32(ASTRONAUT))[0] > 0.6 and 0.4 < face.score <= 1
    assert np.degrees(np.abs(face.angles)).max() < 35
    assert 0.05 < np.ptp(face.vertices[:, 0]) < 0.3


def test_what_is_no_face_is_seen_otherwise_in_a_mirror(shipped_pipeline, picture):
    scale = shipped_pipeline.rec_net.config.crop_scale
    image = load_image(EXAMPLES / "astronaut.jpg")
    (face,) = shipped_pipeline.look([image], [Crop.from_box(np.float32(ASTRONAUT), scale)])
    assert face.score > 0.9
    others = shipped_pipeline.look([picture] * 2, [Crop.from_box(np.float32(box), scale) for box in BOXES])
    assert max(other.score for other in others) < 0.5
    unsure = shipped_pipeline.reconstruct([picture], [Detection(np.float32(BOXES[0]), 0.9)])
    assert unsure[0].score < 0.5
    assert shipped_pipeline.look([picture], [Crop.from_box(np.float32(BOXES[0]), scale)], False)[0].score == 1


def test_found_and_given_boxes_agree(shipped_pipeline):
    image = EXAMPLES / "rendered_long_hair.jpg"
    (found,) = shipped_pipeline(image).faces
    (given,) = shipped_pipeline(image, boxes=[found.box]).faces
    assert overlap(found.box, given.box)[0] > 0.85
    distance = np.linalg.norm(found.landmarks - given.landmarks, axis=1).mean()
    assert distance < 0.04 * np.ptp(found.landmarks, axis=0).max()


def test_several_faces_largest_first(shipped_pipeline):
    faces = shipped_pipeline(EXAMPLES / "rendered_four.jpg").faces
    assert len(faces) == 4
    quarters = {tuple(((face.box[:2] + face.box[2:]) / 2 > 320).tolist()) for face in faces}
    assert len(quarters) == 4
    again = shipped_pipeline([EXAMPLES / "rendered_four.jpg", EXAMPLES / "astronaut.jpg"])
    assert [len(output.faces) for output in again] == [4, 1]
    np.testing.assert_allclose(again[0].faces[2].landmarks, faces[2].landmarks, atol=0.5)


def test_upside_down_roll_and_camera(shipped_pipeline):
    """A tilted photo gives the same face, tilted."""
    image = Image.open(EXAMPLES / "astronaut.jpg").convert("RGB").crop((110, 20, 334, 244))
    (straight,) = shipped_pipeline(image).faces
    (tilted,) = shipped_pipeline(image.rotate(20, Image.Resampling.BICUBIC)).faces
    turned = np.degrees(tilted.angles - straight.angles)
    assert turned[2] == pytest.approx(20, abs=5)
    assert np.abs(turned[:2]).max() < 8


def test_no_face(shipped_pipeline, picture):
    ramp = np.tile(np.linspace(0, 255, 320).astype(np.uint8)[None, :, None], (200, 1, 3))
    for image in (ramp, np.zeros((64, 64, 3), np.uint8), np.full((1, 1, 3), 200, np.uint8)):
        assert shipped_pipeline(image).faces == []
    outputs = shipped_pipeline([ramp, EXAMPLES / "astronaut.jpg"])
    assert [len(output.faces) for output in outputs] == [0, 1]


def test_threshold(shipped_pipeline):
    assert shipped_pipeline(EXAMPLES / "astronaut.jpg", threshold=1.0).faces == []


def test_steps_need_no_context(untrained_pipeline, picture, faces):
    found = untrained_pipeline.reconstruct([picture], untrained_pipeline.given_boxes(BOXES[:1]))
    np.testing.assert_allclose(found[0].landmarks, faces[0].landmarks, atol=1e-3)


def test_half_precision_and_what_faces_keep(tmp_path):
    """A pipeline may change its precision or place; a face that it gave stays as it was."""
    photo = EXAMPLES / "astronaut.jpg"
    pipeline = RecAugNetPipeline.from_pretrained(SHIPPED)
    face = pipeline(photo, boxes=[ASTRONAUT]).faces[0]
    pipeline.to(torch.bfloat16)
    assert pipeline.rec_net.dtype == torch.bfloat16 and pipeline.morphable_model.dtype == torch.float32
    assert face.model is not pipeline.morphable_model
    again = pipeline(photo, boxes=[ASTRONAUT]).faces[0]
    assert np.linalg.norm(again.landmarks - face.landmarks, axis=1).mean() < 1.5
    assert RecAugNetPipeline.from_pretrained(SHIPPED, dtype=torch.float16).morphable_model.dtype == torch.float32
    again.save(tmp_path / "face.ply")


def test_optional_networks_are_saved_and_moved_too(untrained_pipeline, tmp_path):
    from lirec import RecAugNetPipeline
    from lirec.models.face_detector import FaceDetector

    parts = (untrained_pipeline.rec_net, untrained_pipeline.morphable_model)
    pipeline = RecAugNetPipeline(*parts, FaceDetector(channels=16, stem_channels=8).eval())
    pipeline.save_pretrained(tmp_path)
    again = RecAugNetPipeline.from_pretrained(tmp_path)
    assert again.face_detector is not None and again.face_embedder is None
    names = {"rec_net", "morphable_model", "face_detector", "face_embedder", "et_net"}
    assert set(again.components) == names
    again.to(torch.bfloat16)
    assert again.face_detector.dtype == torch.bfloat16


def test_embedding(shipped_pipeline, untrained_pipeline):
    face = shipped_pipeline(EXAMPLES / "astronaut.jpg").faces[0]
    vectors = shipped_pipeline.embed([face, face])
    assert vectors.shape[0] == 2 and abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    with pytest.raises(LirecError, match="no face embedder"):
        untrained_pipeline.embed([face])
