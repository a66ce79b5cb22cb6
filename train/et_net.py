"""Train ETNet on pictures whose expressions are known: `python -m train.et_net --preset cpu --cache FOLDER`."""

import math

import torch
from torch import nn

from lirec import losses
from lirec.metrics import coefficient_scores
from lirec.models.et_net import ETNet
from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from train import common
from train.data.augment import look_through, mirror
from train.data.cache import CachedFaces, FaceBatch, RenderedBatches, to_batch
from train.data.degradations import degrade
from train.data.skins import Dice
from train.data.synthetic import HELD_OUT_SEED, SyntheticFaces
from train.rec_net import FaceProbes, block_out, points_losses, squared_millimetres, take_backbone


def expression_losses(expression: torch.Tensor, truth: FaceBatch, probes: FaceProbes) -> dict[str, torch.Tensor]:
    """The terms for coefficients (B, 51), each weighted; `probes` are the vertices at which movements are compared."""
    move, true_move = (probes.displace(c, "expression") for c in (expression, truth.expression))
    return {
        "activation": 20 * losses.expression_loss(expression, truth.expression, floor=0.02),
        "coefficients": 40 * losses.coefficient_loss(expression, truth.expression),
        "movement": 0.3 * squared_millimetres(move - true_move, probes.weights),
    }


def prepare(batch: FaceBatch, model, generator, config, degrade_share: float) -> FaceBatch:
    """Mirrored, cut out upright round the landmarks with a little error, and degraded."""
    dice = Dice(len(batch), generator)
    batch = mirror(batch, dice.chance(0.5) > 0, model)
    cosine, sine = batch.angles[:, 2].cos(), batch.angles[:, 2].sin()
    axes = torch.stack((torch.stack((cosine, sine), 1), torch.stack((-sine, cosine), 1)), 1)
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


def build_parser():
    parser = common.parser(__doc__.splitlines()[0], "et_net")
    add = parser.add_argument
    add("--cache", help="folder of `train.data.cache`; without it faces are drawn while training")
    add("--morphable_model", default="hub/rec-aug-net/morphable_model")
    add("--start", help="weights to start from")
    add("--backbone", help="weights of a RecNet or ETNet whose backbone to start from")
    add("--degrade_share", type=float, default=0.6, help="share of the pictures that get blur, noise and the like")
    return parser


def main(arguments=None):
    options = common.parse(build_parser(), arguments)
    run = common.Run(options)
    model = load_model(MorphableModel, options.morphable_model)
    probes = FaceProbes(model)
    network = load_model(ETNet, options.start) if options.start else ETNet(**options.model)
    if options.backbone:
        take_backbone(network, options.backbone)
    config = network.config
    to_points = nn.Linear(network.backbone.count, 2 * len(probes.chosen))
    optimizer = torch.optim.AdamW(
        [*network.parameters(), *to_points.parameters()], lr=options.learning_rate, weight_decay=options.weight_decay
    )
    network, to_points, optimizer = run.prepare(network, to_points, optimizer)
    average = run.average(network, "et_net")
    model, probes = model.to(run.device), probes.to(run.device)
    generator = torch.Generator(run.device).manual_seed(run.data_seed)
    renderer = SyntheticFaces(model, 160, run.device, supersampling=1.2)
    if options.cache:
        loader = CachedFaces(options.cache, options.batch_size, run.data_seed)
    else:
        loader = RenderedBatches(renderer, options.batch_size, run.data_seed)
    held_out = FaceBatch.cat(
        [to_batch(renderer.sample(16, HELD_OUT_SEED + 70_000 + i, degraded=False)) for i in range(16)]
    )
    held_out = prepare(held_out, model, torch.Generator(run.device).manual_seed(0), config, 0.5)

    def validate():
        expression = average(held_out.image).expression
        for name, value in expression_losses(expression, held_out, probes).items():
            run.log(**{f"validation.{name}": value})
        scores = coefficient_scores(expression.clamp(0, 1), held_out.expression)
        run.log(**{
            "validation.correlation": scores.correlation.mean(),
            "validation.learnt": (scores.correlation >= 0.5).sum(),
            "validation.error": scores.error.mean(),
        })  # fmt: skip

    for batch in run.steps(loader, validate):
        truth = prepare(batch, model, generator, config, options.degrade_share)
        with run.autocast():
            output = network(truth.image.contiguous(memory_format=torch.channels_last))
            points = to_points(output.features)
        terms = expression_losses(output.expression, truth, probes)
        terms |= points_losses(points, output.points, truth, probes)
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)


if __name__ == "__main__":
    common.command(main)
