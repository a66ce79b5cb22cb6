"""Train what JR2Net's ablation compares RecAugNet with (Table 4): `python -m train.ablations VARIANT --preset cpu`.

- `baseline`: RecNet, which also learns from expression pairs, with their expressions and with the self-supervised
  losses of photos, whose landmarks are detected: "Baseline", semi-supervised.
- `rec_data_net`: the same without the expressions, pairs being photos like others: "RecDataNet".
- `rec_copy_net`: ETNet, trained by `train.et_net` with RecNet's `--cache`, so that it never sees a pair: "RecCopyNet".

The paper's RecNet learns from photos; here, as in `train.rec_net`, it learns from rendered faces. Pairs are those of
`train.make_expression_pairs`. The result, OUTPUT, is measured by `train.evaluate.meshes --method NAME=OUTPUT`.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch

from lirec import losses
from lirec.errors import LirecError
from lirec.geometry import euler_to_matrix, project
from lirec.models.morphable_model import MorphableModel
from lirec.models.rec_net import RecNet, RecNetOutput
from lirec.models.weights import load_model
from train import common, et_net
from train.data.cache import CachedFaces, FaceBatch, add_source_options, training_faces
from train.data.crops import PhotoBatch
from train.data.synthetic import SyntheticFaces
from train.rec_net import (
    FaceProbes,
    crop_camera,
    prepare_rendered,
    self_supervised_losses,
    supervised_losses,
    validation_faces,
)

VARIANTS = ("baseline", "rec_data_net", "rec_copy_net")


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


def rows_of(output: RecNetOutput, rows: slice) -> RecNetOutput:
    """Some rows of all that was seen, before and after each look."""
    return RecNetOutput(**{
        name: [rows_of(look, rows) for look in value] if name == "earlier" else value[rows]
        for name, value in output.items()
    })  # fmt: skip


def build_parser(variant: str) -> argparse.ArgumentParser:
    """The parser of a variant whose network is a RecNet."""
    parser = common.parser(f"Train {variant} of JR2Net's ablation.", "rec_net")
    parser.set_defaults(output=Path("outputs") / variant)
    add = parser.add_argument
    add("variant", choices=VARIANTS)
    add_source_options(parser)
    add("--morphable_model", default="hub/rec-aug-net/morphable_model")
    add("--start", help="weights to start from")
    add("--degrade_share", type=float, default=0.8, help="share of the pictures that get blur, noise and the like")
    add("--validation_faces", type=int, default=128)
    add("--pairs", required=True, help="folder of `train.make_expression_pairs`")
    add("--pairs_batch", type=int, default=16, help="pairs a step, besides the rendered faces")
    add("--detector", default="hub/rec-aug-net/rec_net", help="RecNet that finds the pairs' landmarks")
    return parser


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    variant = arguments[0] if arguments else ""
    if variant not in VARIANTS and not {"-h", "--help"} & set(arguments):
        raise LirecError(f"Say first what to train: one of {', '.join(VARIANTS)}.")
    if variant == "rec_copy_net":
        et_net.main(["--output", str(Path("outputs") / variant), *arguments[1:]])
        return
    options = common.parse(build_parser(variant if variant in VARIANTS else "baseline"), arguments)
    run = common.Run(options)
    model = load_model(MorphableModel, options.morphable_model).eval()
    probes = FaceProbes(model).to(run.device)
    network = common.start(RecNet, options)
    network.attach(model)
    model.to(run.device)
    detector = load_model(RecNet, options.detector).to(run.device).eval().requires_grad_(False)
    size = network.config.image_size
    renderer = partial(SyntheticFaces, model, round(1.25 * size), run.device, supersampling=1.2)
    loader = training_faces(options, renderer, options.batch_size, run.data_seed)
    if detector.config.image_size != size:
        raise LirecError(
            f"The --detector sees {detector.config.image_size} px and the network {size}: choose one of its size."
        )
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    network, optimizer = run.prepare(network, optimizer)
    average = run.average(network, "rec_net")
    generator = torch.Generator(run.device).manual_seed(run.data_seed)
    pairs = iter(CachedFaces(options.pairs, options.pairs_batch, run.data_seed))
    held_out = validation_faces(model, run.device, size, options.validation_faces)

    def validate() -> None:
        terms = supervised_losses(average(held_out[0].image), *held_out, model, probes)
        run.log(**{f"validation.{name}": value for name, value in terms.items()})

    for batch in run.steps(loader, validate):
        truth, turn = prepare_rendered(batch, model, generator, size, options.degrade_share)
        pair, _ = prepare_rendered(next(pairs).to(run.device), model, generator, size, options.degrade_share)
        images = torch.cat((truth.image, pair.image)).contiguous(memory_format=torch.channels_last)
        with run.autocast():
            output = network(images)
        seen, of_pairs = (rows_of(output, rows) for rows in (slice(len(truth)), slice(len(truth), None)))
        terms = supervised_losses(seen, truth, turn, model, probes)
        terms |= pair_losses(of_pairs, pair, model, detector, options.variant == "baseline")
        run.optimize(sum(terms.values()), optimizer)
        run.log(**terms)


if __name__ == "__main__":
    common.command(main)
