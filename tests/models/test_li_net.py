"""LI-Net's networks: shapes, kinds, what they begin with, files."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lirec.geometry import euler_to_matrix, project
from lirec.geometry.camera import NEAREST
from lirec.geometry.landmarks import Frame, box_normalised
from lirec.models.dc_net import DCNet
from lirec.models.discriminators import LandmarkClassifier, LandmarkDiscriminator, PoseRegressor
from lirec.models.landmark_lifter import (
    DISTANCE,
    LandmarkConditions,
    LandmarkLifter,
    LandmarkLifterOutput,
    Lifting,
)
from lirec.models.li_net import LAYERS, ExpressionGenerator, FaceRotator, LandmarkTransformer, LINet, transformed
from lirec.models.weights import load_model, save_model
from train.data.landmark_motions import LandmarkMotions


@pytest.fixture(scope="module")
def quartets(morphable_model):
    return LandmarkMotions(morphable_model, people=4).sample(4, 0)


# T --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("representation", ["coordinates", "images"])
def test_transformer_begins_with_the_drivers_landmarks(representation, quartets):
    torch.manual_seed(0)
    transformer = LandmarkTransformer(representation, guided=False, width=32, depth=1, image_size=32)
    output = transformer(quartets.source, quartets.driving)
    assert output.landmarks.shape == (4, 68, 2) and output.placement.shape == (4, 3)
    torch.testing.assert_close(output.landmarks, box_normalised(quartets.driving) + output.shift)
    assert output.shift.abs().max() < 0.1
    (output.landmarks.sum() + output.placement.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in transformer.parameters())


def test_frames_of_source_and_driver_do_not_matter(quartets):
    torch.manual_seed(0)
    transformer = LandmarkTransformer(width=32, depth=1)
    output = transformer(quartets.source, quartets.driving)
    elsewhere = transformer(quartets.source * 300 + 20, quartets.driving * 7 - 1)
    torch.testing.assert_close(output.landmarks, elsewhere.landmarks, atol=1e-4, rtol=0)
    placed = elsewhere.placed(quartets.source * 300 + 20)
    torch.testing.assert_close(placed, output.placed(quartets.source) * 300 + 20, atol=0.05, rtol=0)
    output.placement = Frame.of(quartets.source).placement(Frame.of(quartets.turned))
    placed, turned = Frame.of(output.placed(quartets.source)), Frame.of(quartets.turned)
    torch.testing.assert_close(placed.centre, turned.centre, atol=1e-4, rtol=0)
    torch.testing.assert_close(placed.side, turned.side, atol=1e-4, rtol=0)


def test_transformer_adds_its_shift_to_the_guide(quartets):
    torch.manual_seed(0)
    transformer = LandmarkTransformer(width=32, depth=1)
    output = transformer(quartets.source, quartets.driving, quartets.wanted)
    begun = Frame.of(quartets.driving).enter(quartets.wanted)
    torch.testing.assert_close(output.landmarks, begun + output.shift, atol=1e-4, rtol=0)
    other = transformer(quartets.source, quartets.wanted, quartets.wanted)
    assert (other.shift - output.shift).abs().max() > 1e-5  # the driver's own landmarks are read besides
    (output.landmarks.sum() + output.placement.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in transformer.parameters())


def test_a_guide_where_one_is_wanted(quartets, morphable_model):
    torch.manual_seed(0)
    lifting = Lifting(LandmarkLifter(width=16, depth=1).eval(), morphable_model.of_landmarks())
    for guided in (True, False):
        transformer = LandmarkTransformer(guided=guided, width=32, depth=1).eval()
        output = transformed(transformer, lifting, quartets.source, quartets.driving)
        guide = lifting.reshaped(quartets.source, quartets.driving)
        frame, begun = Frame.of(quartets.driving), guide if guided else quartets.driving
        torch.testing.assert_close(output.landmarks, frame.enter(begun) + output.shift)
        assert (frame.enter(guide) - frame.enter(quartets.driving)).abs().max() > 0.01


def test_landmarks_laid_on_the_drivers(quartets):
    torch.manual_seed(0)
    """The shift is added to what guides, where that is in the driver's picture."""
    driving, guide = quartets.driving * 300 + 20, quartets.wanted * 300 + 20
    output = LandmarkTransformer(width=32, depth=1)(quartets.source, driving, guide)
    moved = output.shift * Frame.of(driving).side
    torch.testing.assert_close(output.laid_on(driving), guide + moved, atol=1e-2, rtol=0)
    assert moved.abs().max() > 0.1


def test_judges_of_landmarks_and_poses(quartets):
    classifier = LandmarkClassifier(people=5, width=16)
    features, logits = classifier(quartets.source)
    assert features.shape == (4, 16) and logits.shape == (4, 5)
    torch.testing.assert_close(features, classifier(quartets.source * 9 + 3)[0], atol=1e-4, rtol=0)
    assert LandmarkDiscriminator(16)(quartets.source).shape == (4, 1)
    assert PoseRegressor(8)(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="representation"):
        LandmarkTransformer("points")


def test_saved_and_loaded(quartets, tmp_path):
    transformer = LandmarkTransformer(width=32, depth=1).eval()
    save_model(transformer.half(), tmp_path / "landmark_transformer")
    again = load_model(LandmarkTransformer, tmp_path / "landmark_transformer")
    expected = transformer.float()(quartets.source, quartets.driving)
    torch.testing.assert_close(again(quartets.source, quartets.driving).landmarks, expected.landmarks)


# L --------------------------------------------------------------------------------------------------------------------


def lifter_of(morphable_model, **coefficients):
    """A lifter that tells the same of all landmarks."""
    torch.manual_seed(0)
    lifter = LandmarkLifter(width=16, depth=1).eval()
    torch.nn.init.zeros_(lifter.head.weight)
    parts = lifter.head.bias.data.split(lifter.counts)
    told = dict(zip(("identity", "expression", "angles", "farther"), parts, strict=True))
    for name, value in coefficients.items():
        told[name].copy_(torch.as_tensor(value))
    return lifter


def test_lifter(quartets, tmp_path):
    torch.manual_seed(0)
    lifter = LandmarkLifter(width=16, depth=1).eval()
    lifter.fit_statistics(quartets.source)
    told = lifter(quartets.source)
    assert (told.identity.shape, told.expression.shape, told.angles.shape) == ((4, 80), (4, 51), (4, 3))
    assert told.distance.shape == (4,)
    lifter.head.bias.data[-1] = -5
    assert (lifter(quartets.source).distance == NEAREST).all()
    lifter.head.bias.data[-1] = 0
    torch.testing.assert_close(lifter(quartets.source * 200 + 30).angles, told.angles, atol=1e-4, rtol=0)
    assert lifter.half().dtype == torch.float32  # landmarks want more than three digits
    save_model(lifter, tmp_path / "lifter")
    again = load_model(LandmarkLifter, tmp_path / "lifter")
    torch.testing.assert_close(again(quartets.source).angles, told.angles, atol=1e-3, rtol=0)  # stored as float16


def test_lifted_heads_are_where_the_landmarks_are(morphable_model):
    """What the lifter tells is true here, so that its head's landmarks lie on those given."""
    generator = torch.Generator().manual_seed(0)
    identity, angles = torch.randn(1, 80, generator=generator), torch.tensor([[0.1, -0.5, 0.2]])
    expression = torch.rand(1, 51, generator=generator) * 0.3
    camera = torch.tensor([[[4.0, 0, 0.45], [0, 4.0, 0.55], [0, 0, 1]]])
    place = torch.tensor([[0.0, 0.0, 0.5]])
    vertices = morphable_model(identity, expression)
    points = morphable_model.landmarks(project(vertices, euler_to_matrix(angles), place, camera), angles)
    lifter = lifter_of(morphable_model, identity=identity[0], expression=expression[0], angles=angles[0],
                       farther=math.log(0.5 / DISTANCE))  # fmt: skip
    conditions = LandmarkConditions(lifter, morphable_model, SIZE)
    head = conditions.lift(points)
    torch.testing.assert_close(head.K, camera, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(head.distance, place[:, 2])
    view = conditions.view(head)
    found = morphable_model.landmarks(project(view.vertices, view.rotation, view.translation, view.K), angles)
    torch.testing.assert_close(found, points, atol=1e-4, rtol=0)
    torch.testing.assert_close(conditions.landmarks(head), points, atol=1e-4, rtol=0)
    # a fixed shape is kept, and another's expression or shape is taken over
    other = conditions.lift(points.repeat(2, 1, 1), identity=torch.zeros(1, 80))
    assert other.identity.abs().max() == 0 and other.K.shape == (2, 3, 3)
    still = replace(head, expression=torch.zeros(1, 51))
    assert other.with_expression(still).expression.shape == (2, 51) and other.expression.max() > 0.2
    # what a lifter that tells every head to be this one sees of the source is this one, before the driver's camera
    reshaped = Lifting(lifter, morphable_model.of_landmarks()).reshaped(2 * points + 1, points)
    torch.testing.assert_close(reshaped, points, atol=1e-4, rtol=0)
    # from elsewhere it is as large, in another perspective
    farther = head.seen_from(torch.tensor([2.0]))
    torch.testing.assert_close(farther.K[:, :2, 2], camera[:, :2, 2], atol=1e-3, rtol=1e-3)
    flat = morphable_model.landmarks(
        project(vertices, euler_to_matrix(angles), torch.tensor([[0.0, 0.0, 2.0]]),
                torch.tensor([[[16.0, 0, 0.45], [0, 16.0, 0.55], [0, 0, 1]]])), angles
    )  # fmt: skip
    torch.testing.assert_close(conditions.landmarks(farther), flat, atol=1e-3, rtol=0)
    assert (flat - points).abs().max() > 0.01
    # what was seen from there is seen from as near as the source was

    def told(landmarks):
        near = 0.5 if landmarks.max() > 2 else 2.0
        return LandmarkLifterOutput(identity, expression, angles, distance=torch.tensor([near]))

    moved = Lifting(told, morphable_model).in_perspective(flat, 10 * points)
    torch.testing.assert_close(box_normalised(moved), box_normalised(points), atol=2e-3, rtol=0)
    shaped = other.with_identity(head.identity)
    assert (shaped.identity == head.identity).all() and shaped.K is other.K


# R and G --------------------------------------------------------------------------------------------------------------

SIZE = 32


@pytest.fixture(scope="module")
def faces(quartets):
    """Photos of noise, with landmarks in their middle, and landmarks to be reached."""
    photo = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    source, target = (0.5 * box_normalised(points) + 0.5 for points in (quartets.source, quartets.wanted))
    return photo, source, target


@pytest.fixture(scope="module")
def conditions(morphable_model):
    torch.manual_seed(0)
    return LandmarkConditions(LandmarkLifter(width=16, depth=1).eval(), morphable_model, SIZE)


def drawer(kind, **settings):
    torch.manual_seed(0)
    return kind(image_size=SIZE, width=8, **settings).eval()


def settings_of_generators():
    yield {}
    yield {"rotated": False}
    yield {"output": "rgb"}
    yield {"output": "rgb", "rotated": False, "encoder": "concatenated"}


@pytest.mark.parametrize("output", ["layers", "rgb"])
def test_rotator(output, faces, conditions):
    photo, points, target = faces
    rotator = drawer(FaceRotator, output=output)
    net = LINet(conditions, rotator)
    source = net.prepare(photo, points)
    heads = conditions.lift(target, source.head.identity)
    drawn = net.rotate(source, net.turn(source, heads), target)
    size = 64 if output == "layers" else SIZE
    assert drawn.image.shape == (4, 3, size, size) and drawn.generated.shape == (4, 3, SIZE, SIZE)
    shown = torch.ones(4, 9)
    shown[:, 4:] = 0
    assert not torch.equal(net.rotate(source, net.turn(source, heads), target, shown).image, drawn.image)
    drawn.image.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in rotator.parameters())
    one = net.prepare(photo[:1], points[:1])
    one.features = rotator.encode(one.maps)
    heads = conditions.lift(target, one.head.identity)
    alone = net.rotate(one, net.turn(one, conditions.lift(target[:1], one.head.identity)), target[:1]).image
    torch.testing.assert_close(net.rotate(one, net.turn(one, heads), target).image[:1], alone, atol=1e-4, rtol=0)


def test_rotator_begins_as_a_trained_dc_net(faces, conditions):
    photo, points, target = faces
    trained = drawer(DCNet)
    rotator = FaceRotator(image_size=SIZE, width=8)
    rotator.start_from(trained)
    net = LINet(conditions, rotator.eval())
    source = net.prepare(photo, points)
    heads = conditions.lift(target, source.head.identity)
    driven = conditions.driven(source.maps, heads.with_expression(source.head), completed=True)
    expected = trained(source.maps, driven).image
    torch.testing.assert_close(net.rotate(source, net.turn(source, heads), target).image, expected, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="another size"):
        rotator.start_from(DCNet(image_size=SIZE, width=16))


@pytest.mark.parametrize("settings", settings_of_generators(), ids=str)
def test_generator(settings, faces, conditions):
    photo, points, target = faces
    generator = drawer(ExpressionGenerator, **settings)
    net = LINet(conditions, drawer(FaceRotator) if generator.config.rotated else None, generator)
    source = net.prepare(photo, points)
    rotated, drawn = net(source, target)
    layered = generator.config.output == "layers"
    assert drawn.image.shape == (4, 3, *(2 * [64 if layered else SIZE]))
    assert (rotated is None) != generator.config.rotated
    if layered:
        assert drawn.weights.shape[1] == len(LAYERS) - (rotated is None)
        torch.testing.assert_close(drawn.weights.sum(1), torch.ones(4, 64, 64))
    drawn.image.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())
    turned = None if generator.config.rotated else source.maps
    with pytest.raises(ValueError, match="rotated face"):
        generator(source.maps, None, points, target, turned)


def test_layers_begin_with_the_moved_photo(faces, conditions):
    photo, points, _ = faces
    smooth = F.interpolate(photo[:, :, ::16, ::16], (64, 64), mode="bicubic").clamp(0, 1)
    net = LINet(conditions, drawer(FaceRotator), drawer(ExpressionGenerator))
    rotated, drawn = net(net.prepare(smooth, points), points)
    for image in (rotated, drawn.image):
        assert (image - smooth).abs().mean() < 0.12


def test_wrong_settings_of_drawers_are_refused():
    with pytest.raises(ValueError, match="output"):
        drawer(FaceRotator, output="paint")
    with pytest.raises(ValueError, match="encoder"):
        drawer(ExpressionGenerator, encoder="none")
    with pytest.raises(ValueError, match="needs output='rgb'"):
        drawer(ExpressionGenerator, encoder="concatenated")


def test_drawers_saved_and_loaded(faces, conditions, tmp_path):
    photo, points, target = faces
    networks = []
    for kind in (FaceRotator, ExpressionGenerator):
        save_model(drawer(kind).half(), tmp_path / kind.__name__)
        networks.append((drawer(kind).half().float(), load_model(kind, tmp_path / kind.__name__)))
    made, loaded = (LINet(conditions, *pair) for pair in zip(*networks, strict=True))
    expected = made(made.prepare(photo, points), target)[1].image
    torch.testing.assert_close(loaded(loaded.prepare(photo, points), target)[1].image, expected)
