"""Shape, expression, pose, light and albedo on rendered faces that training never sees.

python -m train.evaluate.reconstruction [--count 512] [--json reconstruction.json]

`--protocol open|facewarehouse|frgc` measures meshes against true surfaces instead: see `train.evaluate.meshes`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lirec import RecAugNetPipeline
from lirec.geometry import euler_to_matrix, intrinsics, project
from lirec.geometry.rendering import RenderOutput, render
from lirec.metrics import (
    coefficient_scores,
    error_ratio,
    landmark_box,
    landmark_error,
    masked_error,
    rotation_error,
    shape_error,
)
from lirec.models.morphable_model import MorphableModel
from lirec.pipelines.light_fitting import fitted_light
from train.common import command
from train.data.synthetic import HELD_OUT_SEED, RenderedFaces, SyntheticFaces
from train.evaluate import meshes
from train.evaluate import options as command_line
from train.evaluate.landmarks import mean_landmarks, place
from train.evaluate.report import Report

if TYPE_CHECKING:
    from lirec.models.rec_net import RecNetOutput

FACE_RADIUS = 0.085
"""Metres around the tip of the nose that are measured, as FaceWarehouse's protocol in JR2Net has it."""
LEARNT = 0.5
"""A coefficient counts as learnt from this correlation on."""


def main(arguments: list[str] | None = None) -> Report:
    parser = command_line.parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--protocol",
        choices=("rendered", *meshes.PROTOCOLS),
        default="rendered",
        help="another than rendered: what `train.evaluate.meshes` measures, with its options",
    )
    if parser.parse_known_args(arguments)[0].protocol != "rendered":
        return meshes.main(arguments)
    options = command_line.parse(parser, arguments)
    pipeline = RecAugNetPipeline.from_pretrained(options.weights).to(options.device)
    batches = held_out(
        pipeline.morphable_model, pipeline.rec_net.config.image_size, options.count, options.batch
    )
    report = evaluate(pipeline.regress, pipeline.morphable_model, batches)
    return command_line.hand_out(report, options, f"python -m train.evaluate.reconstruction --count {options.count}")


def held_out(model: MorphableModel, size: int, count: int, batch: int) -> Iterator[RenderedFaces]:
    """Batches of rendered faces of identities that training never sees, `count` in all."""
    faces = SyntheticFaces(model, size=size, device=model.device)
    for start in range(0, count, batch):
        yield faces.sample(min(batch, count - start), seed=HELD_OUT_SEED + start)


@torch.no_grad()
def evaluate(
    look: Callable[[Tensor], "RecNetOutput"], model: MorphableModel, batches: Iterable[RenderedFaces]
) -> Report:
    """Measure on rendered faces what a look at pictures (B, 3, S, S) gives.

    The pictures are taken as crops, as they come: finding and cropping faces is not part of the measurement.
    """
    found, true = {"clean": defaultdict(list), "image": defaultdict(list)}, defaultdict(list)
    for faces in batches:
        for name in ("identity", "expression", "angles", "landmarks"):
            true[name].append(getattr(faces, name))
        scene = Scene(model, faces, faces.clean.shape[-1])
        true["colour"].append(_colour_error(scene.draw(faces.albedo_coefficients, faces.light), faces))
        for pictures, record in found.items():
            _look(look, model, faces, getattr(faces, pictures), record)
    *found, true = (
        {name: torch.cat(parts).cpu().float() for name, parts in record.items()} for record in (*found.values(), true)
    )
    report, degraded = (_report(model, record, true) for record in found)
    report.beside("degraded", degraded)
    return report


def _look(look, model: MorphableModel, faces: RenderedFaces, pictures: Tensor, record: dict[str, list[Tensor]]) -> None:
    """Add what is seen in pictures of faces to a record, and what it looks like when it is drawn."""
    output, size = look(pictures), pictures.shape[-1]
    scene = Scene(model, output, size)
    for name in ("identity", "expression", "angles"):
        record[name].append(getattr(output, name))
    record["landmarks"].append(scene.landmarks())
    mean_light = faces.light.mean(0, keepdim=True)
    drawings = {
        "colour": scene.draw(output.albedo, fitted_light(pictures, output, model)),
        "colour before": scene.draw(output.albedo, output.light),
        "mean colour": scene.draw(0 * output.albedo, mean_light),
    }
    for name, drawn in drawings.items():
        record[name].append(_colour_error(drawn, faces))


def _colour_error(drawn: RenderOutput, faces: RenderedFaces) -> Tensor:
    """(B,) mean difference of drawn colours from the undegraded pictures', where both show skin."""
    return masked_error(drawn.colour, faces.clean, drawn.mask * faces.skin)


class Scene:
    """Faces in front of their cameras, predicted or true ones."""

    def __init__(self, model: MorphableModel, output: "RecNetOutput | RenderedFaces", size: int):
        self.model, self.output, self.size = model, output, size
        self.vertices = model(output.identity, output.expression)
        self.rotation = euler_to_matrix(output.angles)
        self.K = intrinsics(output.focal * size, output.focal.new_full((2,), size / 2))

    def landmarks(self) -> Tensor:
        """(B, 68, 2) px."""
        projected = project(self.vertices, self.rotation, self.output.translation, self.K)
        return self.model.landmarks(projected, self.output.angles)

    def draw(self, albedo: Tensor, light: Tensor) -> RenderOutput:
        """Pictures under albedo coefficients (B, 64) and light (B or 1, 9, 3)."""
        model, size = self.model, self.size
        return render(
            self.vertices, model.triangles, self.rotation, self.output.translation, self.K, size, size,
            texture=model.albedo(albedo), uv=model.uv, triangles_uv=model.triangles_uv, light=light,
        )  # fmt: skip


def face_region(model: MorphableModel) -> Tensor:
    """(V,) the vertices that are measured: skin, lips and brows near the nose; not scalp, ears and neck."""
    tip = model.mean_vertices[model.landmark_vertices[30]]
    near = (model.mean_vertices - tip).norm(dim=-1) <= FACE_RADIUS
    return near & model.select_vertices("skin", "lips", "brows")


def _report(model: MorphableModel, found: dict[str, Tensor], true: dict[str, Tensor]) -> Report:
    count = len(true["identity"])
    report = Report(
        title=f"Reconstruction of {count} rendered faces of people not trained on, and of the same, degraded: blurred, "
        "compressed, with noise and other colours",
        command="",
        baseline="the mean face with the mean expression, albedo and light, looking into the camera",
    )
    region = face_region(model).cpu()

    def shapes(identity: Tensor, expression: Tensor) -> Tensor:
        return model(identity.to(model.device), expression.to(model.device)).cpu()[:, region]

    identity, no_identity = (found["identity"], true["identity"]), torch.zeros_like(true["identity"])
    expression, no_expression = (
        (found["expression"], true["expression"]),
        torch.zeros_like(true["expression"]),
    )
    mean_expression = true["expression"].mean(0).expand_as(no_expression)

    def compare(
        name: str, ratio: str, predicted: Tensor, target: Tensor, trivial: Tensor, align: str
    ) -> None:
        errors, baseline = (shape_error(shape, target, align=align) for shape in (predicted, trivial))
        report.add(f"{name}, RMSE", errors.mean(), baseline.mean(), "mm", count)
        if ratio:
            report.add(f"{name}, ratio to the {ratio}", error_ratio(errors, baseline), 1, "", count)

    mean_face = shapes(no_identity, no_expression)
    both = [shapes(a, b) for a, b in zip(identity, expression, strict=True)]
    compare("shape, aligned", "", *both, shapes(no_identity, mean_expression), "similarity")
    alone = [shapes(one, no_expression) for one in identity]
    compare("identity, aligned", "mean face", *alone, mean_face, "similarity")
    compare("identity, not aligned", "mean face", *alone, mean_face, "none")
    moved = [shapes(no_identity, one) for one in expression]
    compare("expression", "mean expression", *moved, shapes(no_identity, mean_expression), "none")

    scores = coefficient_scores(*expression)
    learnt = int((scores.correlation >= LEARNT).sum())
    report.add(f"expression coefficients with correlation >= {LEARNT}", learnt, 0, "", count)
    for name, values in (("expression correlation", scores.correlation), ("expression error", scores.error),
                         ("expression error of the mean", scores.baseline)):  # fmt: skip
        report.details[name] = dict(zip(model.expression_names, values.tolist(), strict=True))

    rotations = [euler_to_matrix(angles) for angles in (found["angles"], true["angles"])]
    errors = rotation_error(*rotations)
    trivial = rotation_error(euler_to_matrix(torch.zeros_like(true["angles"])), rotations[1])
    for limit in (60, 90):
        chosen = true["angles"][:, 1].abs().rad2deg() <= limit
        name = f"rotation, median, |yaw| <= {limit}°"
        report.add(name, errors[chosen].median(), trivial[chosen].median(), "°", int(chosen.sum()))

    name = "light and albedo, L1 in the skin"
    kinds = {
        name: found["colour"],
        f"{name}, light not fitted": found["colour before"],
        # Hard shadows, highlights and fine texture are beyond the model: no network can do better than this.
        f"{name}, of the true coefficients": true["colour"],
    }
    trivial = found["mean colour"]
    seen = sum(kinds.values(), trivial).isfinite()  # the masks of some have nothing in common
    for title, errors in kinds.items():
        report.add(title, errors[seen].mean(), trivial[seen].mean(), "", int(seen.sum()))

    in_box = place(mean_landmarks(model), landmark_box(true["landmarks"]))
    errors, trivial = (landmark_error(points, true["landmarks"]) for points in (found["landmarks"], in_box))
    report.add("landmarks, all 68, of sqrt(box area)", 100 * errors.mean(), 100 * trivial.mean(), "%", count)
    return report


if __name__ == "__main__":
    command(main)
