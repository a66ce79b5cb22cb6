"""Train RecNet: `python -m train.rec_net --preset cpu --data synthetic`.

Two sets of losses, usable together: the supervised one on rendered faces, whose truth is known, and the paper's
self-supervised one on photos (`--data NAME --root FOLDER`; the names are those of `train.data.DATASETS`).
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from lirec import losses
from lirec.errors import LirecError
from lirec.geometry import (
    euler_to_matrix,
    intrinsics,
    linear_to_srgb,
    project,
    render,
    shade,
    srgb_to_linear,
    vertex_normals,
)
from lirec.models.et_net import ETNet
from lirec.models.mesh_feedback import Head
from lirec.models.morphable_model import MorphableModel
from lirec.models.rec_net import RecNet, RecNetOutput
from lirec.models.weights import load_model, load_one_of
from train import common
from train.data import DATASETS, training_set
from train.data.augment import CROP_SCALE, mirror, random_window
from train.data.cache import FaceBatch, add_source_options, to_batch, training_faces
from train.data.crops import photo_loader
from train.data.degradations import degrade
from train.data.skins import Dice
from train.data.synthetic import HELD_OUT_SEED, SyntheticFaces


def crop_camera(focal: torch.Tensor, size: float) -> torch.Tensor:
    """Intrinsics (B, 3, 3) of crops `size` wide whose focal lengths (B,) are in crop sides."""
    return intrinsics(focal * size, focal.new_full((len(focal), 2), size / 2))


EARLIER = 0.4
"""Weight of what was seen before a step of `MeshFeedback`."""


class FaceProbes(nn.Module):
    """A few hundred vertices of the model, at which shapes, places and colours are compared.

    Args:
        model: the morphable model.
        count: vertices spread over the face, besides the landmarks, the outline of the jaw and the irises.
    """

    def __init__(self, model: MorphableModel, count: int = 320):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        face = model.select_vertices("skin", "brows", "lips", "scalp") & (model.mean_vertices[:, 2] > -0.06)
        spread = torch.where(face)[0]
        spread = spread[torch.randperm(len(spread), generator=generator)[:count].to(spread)]
        eyes = torch.cat(
            [torch.where(model.select_vertices(name))[0][:17] for name in ("eye_left", "eye_right")]
        )  # pupils and irises, for the gaze
        jaw = model.contour_vertices.flatten()
        chosen = torch.unique(torch.cat((model.landmark_vertices, jaw, spread, eyes)))
        weights = torch.ones_like(model.mean_vertices[chosen, 0])
        for vertices, weight in ((model.landmark_vertices[17:], 3.0), (eyes, 1.5)):
            weights[torch.isin(chosen, vertices)] = weight
        on_skin = model.select_vertices("skin", "lips", "brows")[chosen]
        names = {
            "chosen": chosen,
            "weights": weights / weights.mean(),
            "mean": model.mean_vertices[chosen],
            "identity": model.identity_basis[:, chosen].flatten(1),
            "expression": model.expression_basis[:, chosen].flatten(1),
            "on_skin": on_skin.float(),
        }
        for name, value in names.items():
            self.register_buffer(name, value, persistent=False)
        u, v = self._texels(model, chosen)
        size = model.config.texture_size
        texel = (v * size).long().clamp(0, size - 1) * size + (u * size).long().clamp(0, size - 1)
        self.register_buffer("mean_colour", model.mean_albedo.flatten(1)[:, texel].T, persistent=False)
        self.register_buffer("colour", model.albedo_basis.flatten(2)[:, :, texel].transpose(1, 2), persistent=False)

    @staticmethod
    def _texels(model, chosen):
        uv = torch.zeros_like(model.mean_vertices[:, :2])
        uv[model.triangles.flatten()] = model.uv[model.triangles_uv.flatten()]
        return uv[chosen].unbind(1)

    def displace(self, coefficients: torch.Tensor, which: str) -> torch.Tensor:
        return (coefficients @ getattr(self, which)).unflatten(1, (-1, 3))

    def albedo(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, N, 3) sRGB."""
        return self.mean_colour + torch.einsum("bk,knc->bnc", coefficients, self.colour)


def squared_millimetres(displacement: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean square of displacements (B, N, 3), metres, with weights (N,) of mean 1.

    Squares, because most actions are at rest most of the time: with plain distances the best answer to any doubt is
    no expression at all, and the network learns to doubt.
    """
    return 1e6 * (displacement.square().sum(-1) * weights).mean()


def head_losses(head: RecNetOutput | Head, truth: FaceBatch, probes: FaceProbes) -> dict[str, torch.Tensor]:
    """The terms for shape, pose and camera of rendered faces, each weighted."""
    weights = probes.weights
    shape, true_shape = (probes.displace(c, "identity") for c in (head.identity, truth.identity))
    move, true_move = (probes.displace(c, "expression") for c in (head.expression, truth.expression))
    rotation, true_rotation = euler_to_matrix(head.angles), euler_to_matrix(truth.angles)
    points = project(probes.mean + shape + move, rotation, head.translation, crop_camera(head.focal, 1.0))
    true_points = project(
        probes.mean + true_shape + true_move, true_rotation, truth.translation, crop_camera(truth.focal, 1.0)
    )
    distance = (points - true_points)[..., :2].square().sum(-1).add(1e-10).sqrt()
    return {
        "points": 60 * (distance * weights).mean(),
        "identity": 0.15 * squared_millimetres(shape - true_shape, weights),
        "identity_coefficients": 0.25 * losses.coefficient_loss(head.identity, truth.identity),
        "movement": 0.3 * squared_millimetres(move - true_move, weights),
        "expression_coefficients": 60 * losses.coefficient_loss(head.expression, truth.expression),
        "activation": 15 * losses.expression_loss(head.expression, truth.expression, floor=0.02),
        "rotation": 5 * losses.rotation_loss(rotation, true_rotation),
        "scale": 2 * losses.scale_loss(head.translation, head.focal, truth.translation, truth.focal),
        "focal": 0.1 * losses.focal_loss(head.focal, truth.focal),
    }


def look_losses(looks: Sequence, terms_of: Callable[..., dict[str, torch.Tensor]], *truth) -> dict[str, torch.Tensor]:
    """`terms_of(look, *truth)` of each look at the picture, of which the last counts most."""
    terms = terms_of(looks[-1], *truth)
    for number, look in enumerate(looks[:-1]):
        terms[f"look_{number}"] = EARLIER * sum(terms_of(look, *truth).values())
    return terms


def supervised_losses(
    output: RecNetOutput, truth: FaceBatch, turn: torch.Tensor, model: MorphableModel, probes: FaceProbes
) -> dict[str, torch.Tensor]:
    """The terms for rendered faces, each weighted; `turn (B, 3, 3)` leads from the light's camera to the crop's."""
    vertices = model(truth.identity, truth.expression)
    true_rotation = euler_to_matrix(truth.angles)
    normals = vertex_normals(vertices, model.triangles)[:, probes.chosen] @ true_rotation.transpose(1, 2)
    facing = (-normals[..., 2]).clamp_min(0) * probes.on_skin

    def lit(colour: torch.Tensor, normals: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
        albedo = srgb_to_linear(colour.clamp(0.02, 1))
        return linear_to_srgb((albedo * shade(normals, light)).clamp(1e-4, 1.5))

    true_colour = probes.albedo(truth.albedo_coefficients)
    true_lit = lit(true_colour, normals @ turn, truth.light)

    def terms_of(look: RecNetOutput) -> dict[str, torch.Tensor]:
        colour = probes.albedo(look.albedo)
        shaded = (lit(colour, normals, look.light) - true_lit).abs().mean(-1)
        paint = (colour - true_colour).abs().mean(-1)
        return head_losses(look, truth, probes) | {
            "light": 10 * (shaded * facing).sum() / facing.sum(),
            "albedo": 6 * (paint * probes.on_skin).mean(),
            "albedo_coefficients": 0.05 * losses.coefficient_loss(look.albedo, truth.albedo_coefficients),
        }

    return look_losses(output.looks, terms_of)


def self_supervised_losses(
    output: RecNetOutput, photo, model: MorphableModel, embedder: nn.Module | None
) -> dict[str, torch.Tensor]:
    """The paper's terms for photos: landmarks, rendering, identity and regularisation; of earlier looks as well.

    `photo` has image (B, 3, S, S), landmarks (B, 68, 2) px and has_landmarks (B,).
    """
    return look_losses(output.looks, _photo_losses, photo, model, embedder)


def _photo_losses(output, photo, model, embedder):
    size = photo.image.shape[3]
    vertices = model(output.identity, output.expression.clamp(0, 1))
    rotation = euler_to_matrix(output.angles)
    camera = crop_camera(output.focal, size)
    points = model.landmarks(project(vertices, rotation, output.translation, camera), output.angles)
    weights = losses.landmark_weights().to(points) * photo.has_landmarks[:, None]
    texture = model.albedo(output.albedo)
    drawn = render(
        vertices, model.triangles, rotation, output.translation, camera, size, size,
        texture=texture, uv=model.uv, triangles_uv=model.triangles_uv, light=output.light,
        triangle_mask=model.select_triangles("skin", "lips", "brows"),
    )  # fmt: skip
    mask = drawn.mask * skin_likelihood(photo.image)
    terms = {
        "landmarks": 40 * losses.landmark_loss(points, photo.landmarks, size, weights),
        "render": 2 * losses.render_loss(drawn.colour, photo.image, mask),
        "regularisation": 0.05
        * losses.regularisation_loss(output.identity, output.expression, output.albedo, output.light),
    }
    if embedder is not None:
        pasted = photo.image * (1 - drawn.mask) + drawn.colour * drawn.mask
        terms["identity"] = 0.2 * losses.identity_loss(embedder(pasted), embedder(photo.image).detach())
    return terms


def skin_likelihood(images: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W) in [0, 1]: how near a pixel's chroma is to that of the crop's middle, where the face is."""
    luma = images.mean(1, keepdim=True)
    chroma = (images - luma) / (luma + 0.1)
    height, width = images.shape[2:]
    middle = chroma[:, :, height * 2 // 5 : height * 7 // 10, width * 2 // 5 : width * 3 // 5]
    typical = middle.flatten(2).median(2).values[..., None, None]
    distance = (chroma - typical).square().sum(1, keepdim=True)
    return torch.exp(-distance / 0.03)


@torch.no_grad()
def take_backbone(network: RecNet | ETNet, path: str) -> None:
    """Give a network the ResNet of a trained one.

    Raises:
        LirecError: it has other sizes.
    """
    given = load_one_of((RecNet, ETNet), path).backbone.resnet
    try:
        network.backbone.resnet.load_state_dict(given.state_dict())
    except RuntimeError as error:
        raise LirecError(f"The ResNet of {path} has other sizes than the preset's.") from error


def build_parser():
    parser = common.parser(__doc__.splitlines()[0], "rec_net")
    add = parser.add_argument
    add("--data", nargs="+", default=["synthetic"], choices=["synthetic", *DATASETS], help="sets to train on")
    add("--root", nargs="*", default=[], help="folder of each set of photos, in the order of --data")
    add_source_options(parser)
    add("--morphable_model", default="hub/rec-aug-net/morphable_model")
    add("--embedder", help="weights of a FaceEmbedder for the identity loss on photos")
    add("--start", help="weights to start from")
    add("--backbone", help="weights of a RecNet or ETNet whose ResNet to start from")
    add(
        "--degrade_share",
        type=float,
        default=0.8,
        help="share of the pictures that get blur, noise and the like",
    )
    return parser


def photo_batches(names, roots, size: int, batch_size: int, seed: int):
    """Endless batches of each set of photos."""
    if len(roots) != len(names):
        sets = ", ".join(names) or "the sets of photos: --data names none"
        raise LirecError(f"--root must name one folder for each of {sets}.")
    return [
        iter(photo_loader(training_set(name, root), size, batch_size, CROP_SCALE, seed))
        for name, root in zip(names, roots, strict=True)
    ]


def main(arguments=None):
    options = common.parse(build_parser(), arguments)
    run = common.Run(options)
    model = load_model(MorphableModel, options.morphable_model).to(run.device).eval()
    network = common.start(RecNet, options)
    if options.backbone:
        take_backbone(network, options.backbone)
    network.attach(model)
    size = network.config.image_size
    probes = FaceProbes(model)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    network, optimizer = run.prepare(network, optimizer)
    average = run.average(network, "rec_net")
    generator = torch.Generator(run.device).manual_seed(run.data_seed)

    photo_names = [name for name in options.data if name != "synthetic"]
    photos = photo_batches(photo_names, options.root, size, options.batch_size, run.data_seed)
    embedder = None
    if options.embedder:
        from lirec.models.face_embedder import FaceEmbedder

        embedder = load_model(FaceEmbedder, options.embedder).to(run.device).eval().requires_grad_(False)
    rendered = "synthetic" in options.data
    if rendered:
        renderer = partial(SyntheticFaces, model, round(1.25 * size), run.device, supersampling=1.2)
        loader = training_faces(options, renderer, options.batch_size, run.data_seed)
    else:
        loader = photos.pop(0)

    held_out = validation_faces(model, run.device, size)

    def validate():
        output = average(held_out[0].image)
        terms = supervised_losses(output, *held_out, model, probes)
        run.log(**{f"validation.{name}": value for name, value in terms.items()})
        run.log_images("reconstructions", reconstruction_sheet(output, held_out[0], model))

    for batch in run.steps(loader, validate):
        terms = {}
        if rendered:
            truth, turn = prepare_rendered(batch, model, generator, size, options.degrade_share)
            image = truth.image.contiguous(memory_format=torch.channels_last)
            with run.autocast():
                output = network(image)
            terms = supervised_losses(output, truth, turn, model, probes)
        for photo in [*([] if rendered else [batch]), *(next(source) for source in photos)]:
            photo = photo.to(run.device)
            with run.autocast():
                output = network(photo.image)
            for name, value in self_supervised_losses(output, photo, model, embedder).items():
                terms[f"photo_{name}"] = terms.get(f"photo_{name}", 0) + value
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)


def prepare_rendered(batch: FaceBatch, model, generator, size: int, degrade_share: float):
    """Mirrored, cut out anew and degraded: (truth, turn of the camera)."""
    dice = Dice(len(batch), generator)
    batch = mirror(batch, dice.chance(0.5) > 0, model)
    truth, turn = random_window(batch, dice, size)
    touched = round(degrade_share * len(batch))
    truth.image = torch.cat((degrade(truth.image[:touched], generator), truth.image[touched:]))
    truth.image = block_out(truth.image, dice)
    return truth, turn


def block_out(images: torch.Tensor, dice: Dice, chance: float = 0.12) -> torch.Tensor:
    """A flat rectangle over some pictures, for all that was not thought of."""
    size = images.shape[3]
    low = dice.uniform(-0.1, 1, 2) * size
    extent = dice.uniform(0.05, 0.35, 2) * size
    axis = torch.arange(size, device=images.device)
    inside_x = (axis >= low[:, :1]) & (axis < low[:, :1] + extent[:, :1])
    inside_y = (axis >= low[:, 1:]) & (axis < low[:, 1:] + extent[:, 1:])
    mask = (inside_y[:, :, None] & inside_x[:, None])[:, None] & (dice.chance(chance) > 0).reshape(-1, 1, 1, 1)
    return torch.where(mask, dice.uniform(0, 1, 3).reshape(-1, 3, 1, 1), images)


def validation_faces(model, device, size: int, count: int = 128):
    renderer = SyntheticFaces(model, round(1.25 * size), device, supersampling=1.2)
    faces = [to_batch(renderer.sample(8, HELD_OUT_SEED + i, degraded=False)) for i in range(count // 8)]
    generator = torch.Generator(device).manual_seed(0)
    return prepare_rendered(FaceBatch.cat(faces), model, generator, size, 0.5)


def reconstruction_sheet(output, truth: FaceBatch, model: MorphableModel, count: int = 24) -> torch.Tensor:
    """Pictures, and what was reconstructed drawn over them, in turn."""
    rows = slice(0, count)
    size = truth.image.shape[3]
    drawn = render(
        model(output.identity[rows], output.expression[rows].clamp(0, 1)), model.triangles,
        euler_to_matrix(output.angles[rows]), output.translation[rows], crop_camera(output.focal[rows], size),
        size, size, texture=model.albedo(output.albedo[rows]), uv=model.uv, triangles_uv=model.triangles_uv,
        light=output.light[rows],
    )  # fmt: skip
    pictures = truth.image[rows]
    over = pictures * (1 - drawn.mask) + drawn.colour.clamp(0, 1) * drawn.mask
    return torch.stack((pictures, over), 1).flatten(0, 1)


if __name__ == "__main__":
    common.command(main)
