"""RecAugNet's expressions against RecNet's: `python -m train.evaluate.expressions`.

Both see held-out rendered faces through the pipeline, given the box round the landmarks.
"""

from __future__ import annotations

import torch

from lirec import RecAugNetPipeline
from lirec.errors import LirecError
from lirec.metrics import coefficient_scores, error_ratio, landmark_box, shape_error
from lirec.processing.image import to_array
from train.common import command
from train.data.synthetic import HELD_OUT_SEED, SyntheticFaces
from train.evaluate import options as command_line
from train.evaluate.reconstruction import LEARNT, face_region
from train.evaluate.report import Report

LARGE = 0.7
"""Faces in which any coefficient is above this count as large expressions."""
FOLLOWED = 0.6
"""A coefficient can be used for motion capture from this correlation on."""
SIZE = 192  # px of the pictures


def main(arguments: list[str] | None = None) -> Report:
    parser = command_line.parser(__doc__.splitlines()[0], batch=16)
    options = command_line.parse(parser, arguments)
    pipeline = RecAugNetPipeline.from_pretrained(options.weights).to(options.device)
    if pipeline.et_net is None:
        raise LirecError(f"{options.weights} has no et_net to compare with RecNet: train one with `train.et_net`.")
    report = evaluate(pipeline, options.count, options.batch)
    return command_line.hand_out(report, options, f"python -m train.evaluate.expressions --count {options.count}")


@torch.no_grad()
def evaluate(pipeline: RecAugNetPipeline, count: int, batch: int) -> Report:
    """Measure both networks on `count` faces of people that training never sees."""
    model = pipeline.morphable_model
    renderer = SyntheticFaces(model, SIZE, model.device)
    truth, found = [], {pictures: {"RecAugNet": [], "RecNet": []} for pictures in ("clean", "image")}
    for start in range(0, count, batch):
        faces = renderer.sample(min(batch, count - start), HELD_OUT_SEED + 200_000 + start)
        boxes = [[box.tolist()] for box in landmark_box(faces.landmarks).cpu()]
        truth.append(faces.expression.cpu())
        for pictures, methods in found.items():
            images = [to_array(image) for image in getattr(faces, pictures)]
            for name, rows in methods.items():
                outputs = pipeline(images, boxes=boxes, augmented=name == "RecAugNet")
                rows += [torch.from_numpy(output.faces[0].expression) for output in outputs]
    report, degraded = (
        _report(model, torch.cat(truth), {name: torch.stack(rows) for name, rows in methods.items()})
        for methods in found.values()
    )
    report.beside("degraded", degraded)
    return report


def _report(model, truth: torch.Tensor, found: dict[str, torch.Tensor]) -> Report:
    report = Report(
        title=f"Expressions of {len(truth)} rendered faces of people not trained on, by RecAugNet and by RecNet; by "
        "RecAugNet also in degraded pictures: blurred, compressed, with noise and other colours",
        command="",
        baseline="the mean expression",
    )
    region, identity = face_region(model).cpu(), torch.zeros(1, model.config.identity_count)
    model = model.to("cpu")

    def movement(expression):
        return model(identity.expand(len(expression), -1), expression)[:, region]

    mean = truth.mean(0).expand_as(truth)
    large = truth.amax(1) > LARGE
    for name, rows in (("", slice(None)), (f", any coefficient above {LARGE}", large)):
        true = movement(truth[rows])
        baseline = shape_error(movement(mean[rows]), true, align="none")
        errors = {key: shape_error(movement(values[rows]), true, align="none") for key, values in found.items()}
        ours, other = errors["RecAugNet"], errors["RecNet"]
        count = len(true)
        report.add(f"movement, RMSE{name}", ours.mean(), baseline.mean(), "mm", count, {"RecNet": other.mean()})
        report.add(
            f"movement, ratio to the mean expression{name}", error_ratio(ours, baseline), 1, "", count,
            {"RecNet": error_ratio(other, baseline)},
        )  # fmt: skip
    scores = {name: coefficient_scores(values, truth) for name, values in found.items()}
    ours, other = scores["RecAugNet"], scores["RecNet"]
    count = len(truth)
    report.add("coefficients, mean absolute error", ours.error.mean(), ours.baseline.mean(), "", count,
               {"RecNet": other.error.mean()})  # fmt: skip
    errors = {name: (values - truth).abs() for name, values in {**found, "mean": mean}.items()}
    for name, chosen in (
        (f"of faces with any above {LARGE}", large[:, None].expand_as(truth)),
        (f"of those above {LARGE} alone", truth > LARGE),
    ):
        mine, theirs, trivial = (errors[key][chosen].mean() for key in ("RecAugNet", "RecNet", "mean"))
        rows = int(chosen.any(1).sum())
        report.add(f"coefficients, mean absolute error, {name}", mine, trivial, "", rows, {"RecNet": theirs})
        ratios = mine / theirs, trivial / theirs
        report.add(f"coefficients, ratio to RecNet's error, {name}", *ratios, "", rows, {"RecNet": 1})
    for name, figure in (("mean", torch.mean), ("lowest", torch.min)):
        report.add(f"coefficients, {name} correlation", figure(ours.correlation), 0, "", count,
                   {"RecNet": figure(other.correlation)})  # fmt: skip
    for least in (LEARNT, FOLLOWED):
        learnt = {name: int((score.correlation >= least).sum()) for name, score in scores.items()}
        report.add(f"coefficients with correlation >= {least}", learnt["RecAugNet"], 0, "", count,
                   {"RecNet": learnt["RecNet"]})  # fmt: skip
    for name, score in scores.items():
        for what, values in (("correlation", score.correlation), ("error", score.error)):
            report.details[f"{what}, {name}"] = dict(zip(model.expression_names, values.tolist(), strict=True))
    report.details["error, the mean expression"] = dict(
        zip(model.expression_names, ours.baseline.tolist(), strict=True)
    )
    return report


if __name__ == "__main__":
    command(main)
