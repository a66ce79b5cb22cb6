"""Train what JR2Net's ablation compares RecAugNet with (Table 4): `python -m train.ablations VARIANT --preset cpu`.

- `baseline`: RecNet, which also learns from expression pairs, with their expressions and with the self-supervised
  losses of photos, whose landmarks are detected: "Baseline", semi-supervised.
- `rec_data_net`: the same without the expressions, pairs being photos like others: "RecDataNet".
- `rec_copy_net`: a network like ETNet, that learns from RecNet's data with RecNet's losses, and never from pairs:
  "RecCopyNet".

The paper's RecNet learns from photos; here, as in `train.rec_net`, it learns from rendered faces. Pairs are those of
`train.make_expression_pairs`. The result, OUTPUT, is measured by `train.evaluate.meshes --method NAME=OUTPUT`.
"""

import argparse
import sys
from pathlib import Path

import torch

from lirec import losses
from lirec.errors import LirecError
from lirec.geometry import euler_to_matrix, project
from lirec.metrics import coefficient_scores
from lirec.models.et_net import ETNet
from lirec.models.morphable_model import MorphableModel
from lirec.models.rec_net import RecNet, RecNetOutput
from lirec.models.weights import load_model
from train import common, et_net
from train.data.cache import CachedFaces, FaceBatch, RenderedBatches, to_batch
from train.data.crops import PhotoBatch
from train.data.synthetic import HELD_OUT_SEED, SyntheticFaces
from train.rec_net import (
    FaceProbes,
    crop_camera,
    points_losses,
    prepare_rendered,
    self_supervised_losses,
    supervised_losses,
    validation_faces,
)

VARIANTS = {"baseline": "rec_net", "rec_data_net": "rec_net", "rec_copy_net": "et_net"}
"""The network that each trains, whose presets it has."""


@torch.no_grad()
def detect_landmarks(detector: RecNet, images: torch.Tensor, model: MorphableModel) -> torch.Tensor:
    """(B, 68, 2) px of crops (B, 3, S, S), as a trained RecNet sees them."""
    size = images.shape[3]
    output = detector(images)
    vertices = model(output.identity, output.expression.clamp(0, 1))
    camera = crop_camera(output.focal, size)
    return model.landmarks(project(vertices, euler_to_matrix(output.angles), output.translation, camera), output.angles)


def pair_losses(
    output: RecNetOutput, truth: FaceBatch, model: MorphableModel, detector: RecNet, with_expression: bool
) -> dict[str, torch.Tensor]:
    """
    The terms for expression pairs, each weighted.

    Args:
        output: what the network sees in `truth.image`, of the size that the detector takes.
        truth: crops of pairs, of which only the expression is used.
        with_expression: whether the expressions are learnt (Baseline) or not (RecDataNet).
    """
    points = detect_landmarks(detector, truth.image, model)
    photo = PhotoBatch(truth.image, points, points.new_ones(len(points)))
    terms = self_supervised_losses(output, photo, model, None)
    if with_expression:
        terms["activation"] = 20 * losses.expression_loss(output.expression, truth.expression, floor=0.02)
    return {f"pair_{name}": value for name, value in terms.items()}


def with_expression(truth: FaceBatch, expression: torch.Tensor) -> RecNetOutput:
    """What a RecNet would say that knows everything but the expression (B, 51)."""
    names = {"albedo": "albedo_coefficients"}
    names |= {name: name for name in ("identity", "angles", "translation", "focal", "light")}
    return RecNetOutput(expression=expression, **{key: getattr(truth, name) for key, name in names.items()})


def build_parser(variant: str) -> argparse.ArgumentParser:
    """The parser of one of `VARIANTS`."""
    parser = common.parser(f"Train {variant} of JR2Net's ablation.", VARIANTS[variant])
    parser.set_defaults(output=Path("outputs") / variant)
    add = parser.add_argument
    add("variant", choices=VARIANTS)
    add("--cache", help="folder of `train.data.cache`; without it faces are drawn while training")
    add("--morphable_model", default="hub/rec-aug-net/morphable_model")
    add("--start", help="weights to start from")
    add("--degrade_share", type=float, default=0.8, help="share of the pictures that get blur, noise and the like")
    add("--validation_faces", type=int, default=128)
    if VARIANTS[variant] == "rec_net":
        add("--pairs", required=True, help="folder of `train.make_expression_pairs`")
        add("--pairs_batch", type=int, default=16, help="pairs a step, besides the rendered faces")
        add("--detector", default="hub/rec-aug-net/rec_net", help="RecNet that finds the pairs' landmarks")
    return parser


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    variant = arguments[0] if arguments else ""
    if variant not in VARIANTS and not {"-h", "--help"} & set(arguments):
        raise LirecError(f"Say first what to train: one of {', '.join(VARIANTS)}.")
    options = common.parse(build_parser(variant if variant in VARIANTS else "baseline"), arguments)
    run = common.Run(options)
    model = load_model(MorphableModel, options.morphable_model).eval()
    probes = FaceProbes(model).to(run.device)
    train = _train_et_net if variant == "rec_copy_net" else _train_rec_net
    train(options, run, model.to(run.device), probes)


def _loader(options, run: common.Run, model: MorphableModel):
    if options.cache:
        return CachedFaces(options.cache, options.batch_size, run.data_seed)
    renderer = SyntheticFaces(model, 160, run.device, supersampling=1.2)
    return RenderedBatches(renderer, options.batch_size, run.data_seed)


def _prepare(options, run: common.Run, network: torch.nn.Module, probes: FaceProbes):
    """The network, what reads the probes from its features, and the optimizer of both."""
    to_points = torch.nn.Linear(network.backbone.count, 2 * len(probes.chosen))
    parameters = [*network.parameters(), *to_points.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=options.weight_decay)
    return run.prepare(network, to_points, optimizer)


def _train_rec_net(options, run: common.Run, model: MorphableModel, probes: FaceProbes) -> None:
    network = load_model(RecNet, options.start) if options.start else RecNet(**options.model)
    detector = load_model(RecNet, options.detector).to(run.device).eval().requires_grad_(False)
    size = network.config.image_size
    if detector.config.image_size != size:
        raise LirecError(
            f"The --detector sees {detector.config.image_size} px and the network {size}: choose one of its size."
        )
    network, to_points, optimizer = _prepare(options, run, network, probes)
    average = run.average(network, "rec_net")
    generator = torch.Generator(run.device).manual_seed(run.data_seed)
    pairs = iter(CachedFaces(options.pairs, options.pairs_batch, run.data_seed))
    held_out = validation_faces(model, run.device, size, options.validation_faces)

    def validate() -> None:
        terms = supervised_losses(average(held_out[0].image), *held_out, model, probes)
        run.log(**{f"validation.{name}": value for name, value in terms.items()})

    for batch in run.steps(_loader(options, run, model), validate):
        truth, turn = prepare_rendered(batch, model, generator, size, options.degrade_share)
        pair, _ = prepare_rendered(next(pairs).to(run.device), model, generator, size, options.degrade_share)
        images = torch.cat((truth.image, pair.image)).contiguous(memory_format=torch.channels_last)
        with run.autocast():
            output = network(images)
            points = to_points(output.features[: len(truth)])
        parts = ([output[name][: len(truth)] for name in output], [output[name][len(truth) :] for name in output])
        seen, of_pairs = (RecNetOutput(**dict(zip(output, part, strict=True))) for part in parts)
        terms = supervised_losses(seen, truth, turn, model, probes)
        terms |= points_losses(points, seen.points, truth, probes)
        terms |= pair_losses(of_pairs, pair, model, detector, options.variant == "baseline")
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)


def _train_et_net(options, run: common.Run, model: MorphableModel, probes: FaceProbes) -> None:
    network = load_model(ETNet, options.start) if options.start else ETNet(**options.model)
    config = network.config
    network, to_points, optimizer = _prepare(options, run, network, probes)
    average = run.average(network, "et_net")
    generator = torch.Generator(run.device).manual_seed(run.data_seed)
    renderer = SyntheticFaces(model, 160, run.device, supersampling=1.2)
    numbers = range(options.validation_faces // 8)
    faces = FaceBatch.cat([to_batch(renderer.sample(8, HELD_OUT_SEED + i, degraded=False)) for i in numbers])
    held_out = et_net.prepare(faces, model, torch.Generator(run.device).manual_seed(0), config, 0.5)

    def validate() -> None:
        scores = coefficient_scores(average(held_out.image).expression.clamp(0, 1), held_out.expression)
        run.log(**{"validation.error": scores.error.mean(), "validation.correlation": scores.correlation.mean()})

    same = torch.eye(3, device=run.device)
    for batch in run.steps(_loader(options, run, model), validate):
        truth = et_net.prepare(batch, model, generator, config, options.degrade_share)
        with run.autocast():
            output = network(truth.image.contiguous(memory_format=torch.channels_last))
            points = to_points(output.features)
        told = with_expression(truth, output.expression)
        terms = supervised_losses(told, truth, same.expand(len(truth), 3, 3), model, probes)
        terms |= points_losses(points, output.points, truth, probes)
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)


if __name__ == "__main__":
    common.command(main)
