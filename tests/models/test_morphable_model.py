"""The shipped morphable model: its conventions, mirror maps, landmarks and what each expression moves."""

import pytest
import torch

from lirec.geometry import euler_to_matrix, intrinsics, project, vertex_normals
from lirec.models.morphable_model import ISLANDS, NECK_PIVOT, REGIONS, MorphableModel
from lirec.models.weights import load_model, save_model

FLIP = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def model(morphable_model):
    return morphable_model


def one_hot(model, **weights):
    expression = torch.zeros(1, 51)
    for name, value in weights.items():
        expression[0, model.expression_names.index(name)] = value
    return expression


def landmarks(model, identity=None, **weights):
    identity = torch.zeros(1, 80) if identity is None else identity
    return model(identity, one_hot(model, **weights))[0, model.landmark_vertices]


def test_axes(model):
    points = landmarks(model)
    assert points[36, 0] < points[45, 0]  # iBUG counts from the picture's left
    assert points[8, 1] < points[30, 1] < points[27, 1]  # chin, tip of the nose, its root: y is up
    assert points[30, 2] > points[36, 2] > points[0, 2]  # the nose points along +z
    distance = (points[36:42].mean(0) - points[42:48].mean(0)).norm()
    assert 0.055 < distance < 0.07  # metres between the eyes


def test_triangles_face_outwards(model):
    vertices = model.mean_vertices[None]
    normals = vertex_normals(vertices, model.triangles)[0]
    skin = model.select_vertices("skin", "scalp")
    outward = model.mean_vertices[skin] - torch.tensor([0.0, 0.0, -0.065])
    assert ((normals[skin] * outward).sum(1) > 0).float().mean() > 0.9  # nostrils and lids turn inwards


def test_population(model):
    generator = torch.Generator().manual_seed(0)
    faces = model(torch.randn(64, 80, generator=generator), torch.zeros(64, 51))
    spread = (faces - model.mean_vertices).norm(dim=2)
    skin = model.select_vertices("skin")
    assert 0.001 < spread[:, skin].mean() < 0.006
    assert spread.max() < 0.06


def test_names_are_arkit(model):
    names = model.expression_names
    assert len(names) == len(set(names)) == 51
    assert {"jawOpen", "eyeBlinkLeft", "mouthSmileRight", "noseSneerLeft", "cheekPuff"} < set(names)
    assert "tongueOut" not in names


def test_mirrored_identity(model):
    identity = torch.randn(1, 80, generator=torch.Generator().manual_seed(1))
    face = model(identity, torch.zeros(1, 51))[0]
    mirrored = model(identity * model.identity_mirror, torch.zeros(1, 51))[0]
    torch.testing.assert_close(mirrored, face[model.mirror_vertices] * FLIP, atol=4e-4, rtol=0)


def test_mirrored_expression(model):
    expression = torch.rand(1, 51, generator=torch.Generator().manual_seed(2))
    face = model(torch.zeros(1, 80), expression)[0]
    mirrored = model(torch.zeros(1, 80), expression[:, model.expression_mirror])[0]
    torch.testing.assert_close(mirrored, face[model.mirror_vertices] * FLIP, atol=4e-4, rtol=0)


def test_left_is_the_persons_own(model):
    rest = landmarks(model)
    moved = (landmarks(model, eyeBlinkLeft=1.0) - rest).norm(dim=1)
    assert moved[42:48].max() > 0.004 > 0.001 > moved[36:42].max()


def test_blink_closes_the_eye(model):
    for identity in torch.randn(6, 1, 80, generator=torch.Generator().manual_seed(3)):
        points = landmarks(model, identity, eyeBlinkLeft=1.0)
        open_points = landmarks(model, identity)
        opening = (points[[43, 44]] - points[[47, 46]])[:, 1]
        assert opening.abs().max() < 0.35 * (open_points[[43, 44]] - open_points[[47, 46]])[:, 1].mean()


def test_jaw_carries_the_lower_teeth(model):
    teeth = {name: model.select_vertices(name) for name in ("teeth_upper", "teeth_lower")}
    drop = {}
    for name, mask in teeth.items():
        drop[name] = (model(torch.zeros(1, 80), one_hot(model, jawOpen=1.0))[0] - model.mean_vertices)[mask, 1].mean()
    assert drop["teeth_lower"] < -0.01 and drop["teeth_upper"].abs() < 1e-4


def test_gaze_turns_the_eyeballs(model):
    for name, side, axis, sign in (
        ("eyeLookOutLeft", "eye_left", 0, 1),
        ("eyeLookInLeft", "eye_left", 0, -1),
        ("eyeLookUpRight", "eye_right", 1, 1),
        ("eyeLookDownRight", "eye_right", 1, -1),
    ):
        pupil = torch.where(model.select_vertices(side))[0][0]
        move = model(torch.zeros(1, 80), one_hot(model, **{name: 1.0}))[0, pupil] - model.mean_vertices[pupil]
        assert move[axis] * sign > 0.002, name


def test_outline_follows_the_turned_head(model):
    angles = torch.tensor([[0.0, 0.9, 0.0]])
    from lirec.geometry import euler_to_matrix, project

    camera = torch.tensor([[[800.0, 0, 100], [0, 800, 100], [0, 0, 1]]])
    projected = project(model.mean_vertices[None], euler_to_matrix(angles), torch.tensor([[0.0, 0, 1]]), camera)
    points = model.landmarks(projected, angles)[0]
    fixed = projected[0, model.landmark_vertices, :2]
    assert torch.equal(points[17:], fixed[17:])
    assert points[13, 0] > fixed[13, 0] + 2  # the far cheek's edge, not the jaw behind it


def test_the_model_of_landmarks_has_the_same(model):
    small = model.of_landmarks()
    assert small.config.vertex_count < 300
    torch.manual_seed(0)
    identity, expression = torch.randn(3, 80), torch.rand(3, 51)
    angles = torch.tensor([[0.0, 0.0, 0.0], [0.3, 1.2, 0.1], [-0.2, -0.8, 0.5]])
    camera, place = intrinsics(torch.full((3,), 3.0), torch.tensor([0.5, 0.5])), torch.tensor([[0.0, 0.0, 1.0]])
    points = [
        each.landmarks(project(each(identity, expression), euler_to_matrix(angles), place, camera), angles)
        for each in (model, small)
    ]
    torch.testing.assert_close(*points)


def test_albedo_round_trip(model):
    coefficients = 0.5 * torch.randn(4, 64, generator=torch.Generator().manual_seed(4))
    texture = model.albedo(coefficients)
    assert texture.shape == (4, 3, 128, 128) and texture.min() >= 0 and texture.max() <= 1
    again = model.albedo_coefficients(texture)
    assert (again - coefficients).abs().mean() < 0.1  # what was clamped is lost


def test_texture_layout(model):
    assert model.uv.min() >= 0 and model.uv.max() <= 1
    for name, (u, v, width, height) in ISLANDS.items():
        corners = model.triangles_uv[model.select_triangles(name)]
        uv = model.uv[corners].flatten(0, 1)
        low, high = torch.tensor([u, v]) - 0.01, torch.tensor([u + width, v + height]) + 0.01
        assert ((uv >= low) & (uv <= high)).all(1).float().mean() > 0.9, name


def test_regions_cover_everything(model):
    assert set(model.region.tolist()) == set(range(len(REGIONS)))
    assert (model.ambient_occlusion >= 0).all() and (model.ambient_occlusion <= 1.001).all()


def test_saved_as_loaded(model, tmp_path):
    save_model(model, tmp_path / "model")
    again = load_model(MorphableModel, tmp_path / "model")
    identity, expression = torch.randn(2, 80), torch.rand(2, 51)
    torch.testing.assert_close(again(identity, expression), model(identity, expression), atol=1e-6, rtol=0)


def test_the_lower_neck_stays_with_the_body(morphable_model):
    """The head turns, its jaw with it; the neck's rim hardly moves, seen from the camera."""
    model = morphable_model
    vertices = model.mean_vertices[None]
    turned, rest = (euler_to_matrix(torch.tensor([[0.0, yaw, 0.0]])) for yaw in (0.6, 0.0))
    pivot = torch.tensor(NECK_PIVOT)
    twisted = model.twist_neck(vertices, turned.transpose(1, 2) @ rest)
    motion, stiff = (
        ((points - pivot) @ turned.transpose(1, 2) - (vertices - pivot) @ rest.transpose(1, 2)).norm(dim=-1)[0]
        for points in (twisted, vertices)
    )
    rim = model.select_vertices("skin", "neck") & (model.mean_vertices[:, 1] < -0.145)
    assert motion[rim].mean() < 0.4 * stiff[rim].mean()
    face = model.landmark_vertices
    torch.testing.assert_close(motion[face], stiff[face])
