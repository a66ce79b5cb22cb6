"""Train ETNet on pictures of known heads: `python -m train.et_net --preset cpu --cache FOLDER`."""

import math
from collections.abc import Iterable, Iterator

import torch

from lirec.errors import LirecError
from lirec.metrics import coefficient_scores
from lirec.models.et_net import ETNet
from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from train import common
from train.data.augment import look_through, mirror, upright_axes
from train.data.cache import CachedFaces, FaceBatch, add_source_options, to_batch, training_faces
from train.data.degradations import degrade
from train.data.skins import Dice
from train.data.synthetic import HELD_OUT_SEED, SyntheticFaces
from train.rec_net import FaceProbes, block_out, head_losses, look_losses, take_backbone


def prepare(batch: FaceBatch, model, generator, config, degrade_share: float) -> FaceBatch:
    """Mirrored, cut out upright round the landmarks with a little error, and degraded."""
    dice = Dice(len(batch), generator)
    batch = mirror(batch, dice.chance(0.5) > 0, model)
    axes = upright_axes(batch.angles[:, 2])
    upright = (batch.landmarks / batch.image.shape[3] - 0.5) @ axes
    low, high = upright.amin(1), upright.amax(1)
    box = (high - low).amax(1)
    middle = (axes @ ((low + high) / 2)[..., None])[..., 0]
    shift = middle + dice.normal(0, 0.015, 2) * box[:, None]
    side = config.crop_scale * box * torch.exp(dice.normal(0, 0.035))
    angle = batch.angles[:, 2] + dice.normal(0, math.radians(2.5))
    truth, _ = look_through(batch, shift, side, angle, config.image_size)
    touched = round(degrade_share * len(batch))
    truth.image = torch.cat((degrade(truth.image[:touched], generator), truth.image[touched:]))
    truth.image = block_out(truth.image, dice, chance=0.08)
    return truth


def with_pairs(faces: Iterable[FaceBatch], pairs: Iterable[FaceBatch]) -> Iterator[FaceBatch]:
    """Each batch of faces with one of expression pairs behind it.

    Raises:
        LirecError: the pictures have two sizes.
    """
    for batch, more in zip(faces, pairs, strict=False):
        sizes = [part.image.shape[3] for part in (batch, more)]
        if sizes[0] != sizes[1]:
            raise LirecError(f"--pairs are {sizes[1]} px wide, the other faces {sizes[0]}: make pairs of that --size.")
        yield FaceBatch.cat([batch, more.to(batch.image.device)])


def build_parser():
    parser = common.parser(__doc__.splitlines()[0], "et_net")
    add = parser.add_argument
    add_source_options(parser)
    add("--pairs", help="folder of `train.make_expression_pairs`, whose pictures are as large as the others")
    add("--pairs_batch", type=int, default=64, help="pairs a step, besides the other faces")
    add("--morphable_model", default="hub/rec-aug-net/morphable_model")
    add("--start", help="weights to start from")
    add("--backbone", help="weights of a RecNet or ETNet whose ResNet to start from")
    add("--degrade_share", type=float, default=0.6, help="share of the pictures that get blur, noise and the like")
    return parser


def main(arguments=None):
    options = common.parse(build_parser(), arguments)
    run = common.Run(options)
    model = load_model(MorphableModel, options.morphable_model)
    probes = FaceProbes(model)
    network = common.start(ETNet, options)
    if options.backbone:
        take_backbone(network, options.backbone)
    network.attach(model)
    config = network.config
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    network, optimizer = run.prepare(network, optimizer)
    average = run.average(network, "et_net")
    model, probes = model.to(run.device), probes.to(run.device)
    generator = torch.Generator(run.device).manual_seed(run.data_seed)
    renderer = SyntheticFaces(model, round(1.25 * config.image_size), run.device, supersampling=1.2)
    loader = training_faces(options, lambda: renderer, options.batch_size, run.data_seed)
    if options.pairs:
        loader = with_pairs(loader, CachedFaces(options.pairs, options.pairs_batch, run.data_seed))
    held_out = FaceBatch.cat(
        [to_batch(renderer.sample(16, HELD_OUT_SEED + 70_000 + i, degraded=False)) for i in range(16)]
    )
    held_out = prepare(held_out, model, torch.Generator(run.device).manual_seed(0), config, 0.5)

    def validate():
        output = average(held_out.image)
        for name, value in look_losses(output.heads, head_losses, held_out, probes).items():
            run.log(**{f"validation.{name}": value})
        scores = coefficient_scores(output.expression.clamp(0, 1), held_out.expression)
        run.log(**{
            "validation.correlation": scores.correlation.mean(),
            "validation.learnt": (scores.correlation >= 0.5).sum(),
            "validation.error": scores.error.mean(),
        })  # fmt: skip

    for batch in run.steps(loader, validate):
        truth = prepare(batch, model, generator, config, options.degrade_share)
        with run.autocast():
            output = network(truth.image.contiguous(memory_format=torch.channels_last))
        terms = look_losses(output.heads, head_losses, truth, probes)
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)


if __name__ == "__main__":
    common.command(main)
