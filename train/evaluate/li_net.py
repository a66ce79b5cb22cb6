"""How well LI-Net reenacts people it never saw: the tables of the paper's Section 4.2, on rendered faces.

    python -m train.evaluate.li_net [--weights hub/li-net] [--vanilla DIR] [--pix2pix DIR] [--json F]

Each of 12 persons is driven by landmarks of another: 400 motions, so 4,800 pictures (`--persons`, `--count`).
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lirec import LINetPipeline, LirecError, RecAugNetPipeline
from lirec.metrics import keypoint_distance, landmark_box, landmark_error, ssim
from lirec.models.landmark_lifter import LandmarkConditions, Lifting
from lirec.models.li_net import ExpressionGenerator, LINet, transformed
from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from lirec.processing.detection import Detection
from lirec.processing.image import to_array
from train.common import command
from train.data.clips import paired_motions
from train.data.landmark_motions import LandmarkMotions
from train.data.rotations import landmarks_of
from train.data.synthetic import HELD_OUT_SEED, Motion, SyntheticFaces
from train.evaluate.report import Report, Table
from train.evaluate.scores import UNTOUCHED, PictureFeatures, Scores
from train.li_net import YAWS, transformer_figures

SIZE = 256
PERSON_SEED = HELD_OUT_SEED + 700_000
FULL, WITH_T, VANILLA, PIX2PIX = "result", "vanilla + T", "vanilla", "Pix2Pix"
TRUTH = "true pictures"
MISSED = 3.0  # % of the face's box: an error of the landmarks found in a true picture, from which on they are missed
PAPER_SSIM, PAPER_FID = 0.73, 80.45
COLUMNS = {"SSIM": "SSIM", "FID": "FID"}
TABLES = (
    Table(
        "Table 1 of LI-Net: RaFD",
        COLUMNS,
        {
            "X2Face": (0.61, 128.43),
            "Pix2Pix": (0.64, 107.98),
            "FOMM": (0.66, 76.90),
            "FReeNet": (0.68, 83.31),
            "LI-Net": (PAPER_SSIM, PAPER_FID),
        },
    ),
    Table(
        "Table 2 of LI-Net: RaFD",
        COLUMNS,
        {"Vanilla": (0.67, 83.30), "Vanilla +T": (0.68, 89.98), "Vanilla +T+R": (PAPER_SSIM, PAPER_FID)},
    ),
)
NOTE = (
    "The paper's rows: RaFD, FID with Inception. Rows of lirec: rendered faces, FID with the network named above, so "
    "compare their FID with each other only."
)


@dataclass
class Drives:
    """
    One person driven by B landmarks of another; points are in picture widths.

    Attributes:
        photo: (1, 3, S, S) the source; source: (1, 68, 2) its landmarks.
        driving: (B, 68, 2) landmarks of another head in the source's place, as when one camera sees all people.
        wanted: (B, 68, 2) the source's own with those motions, and truth: (B, 3, S, S) their pictures.
        yaw: (B,) degrees from the camera.
    """

    photo: Tensor
    source: Tensor
    driving: Tensor
    wanted: Tensor
    truth: Tensor
    yaw: Tensor


def held_out_drives(model: MorphableModel, persons: int, count: int, batch: int, size: int = SIZE) -> Iterator[Drives]:
    """The paper's protocol: `count` driving landmarks for each of `persons` people whom no training sees."""
    renderer, small = SyntheticFaces(model, size, model.device), model.of_landmarks()
    generator = torch.Generator(model.device).manual_seed(PERSON_SEED)
    motions = paired_motions(renderer.expressions, 1 + count, generator)
    drivers = torch.randn(persons, model.config.identity_count, generator=generator, device=model.device)
    for person in range(persons):
        for start in range(1, 1 + count, batch):
            rows = torch.tensor([0, *range(start, min(start + batch, 1 + count))], device=model.device)
            motion = Motion(motions.expression[rows], motions.angles[rows])
            faces = renderer.sample_clips(1, len(rows), PERSON_SEED + person, wild=0, motion=motion)
            driver = drivers[person].expand(len(rows) - 1, -1)
            moved = torch.arange(1, len(rows), device=model.device)
            yield Drives(
                photo=faces.clean[:1],
                source=faces.landmarks[:1] / size,
                driving=landmarks_of(faces, moved, small, driver, faces.expression[moved]),
                wanted=faces.landmarks[1:] / size,
                truth=faces.clean[1:],
                yaw=faces.angles[1:, 1].abs().rad2deg(),
            )


class Methods:
    """
    What draws reenacted faces, by name.

    Args:
        pipeline: T, R and G.
        vanilla, pix2pix: networks to compare with, where there are some.
    """

    def __init__(
        self,
        pipeline: LINetPipeline,
        vanilla: ExpressionGenerator | None = None,
        pix2pix: ExpressionGenerator | None = None,
    ):
        self.pipeline, self.vanilla, self.pix2pix = pipeline, vanilla, pix2pix
        self.by_name: dict[str, Callable[[Drives], Tensor]] = {FULL: self.full}
        if vanilla is not None:
            self.by_name |= {VANILLA: self.alone, WITH_T: self.alone_transformed}
        if pix2pix is not None:
            self.by_name[PIX2PIX] = self.painted

    def transformed(self, drives: Drives) -> Tensor:
        """(B, 68, 2): T's landmarks, where the driver's camera would see them of the source's head."""
        transformer, conditions = self.pipeline.landmark_transformer, self.pipeline.networks().conditions
        output = transformed(transformer, conditions, drives.source.expand_as(drives.driving), drives.driving)
        return output.laid_on(drives.driving)

    def full(self, drives: Drives) -> Tensor:
        return self._draw(self.pipeline.networks(), drives, self.transformed(drives))

    def alone(self, drives: Drives) -> Tensor:
        return self._draw(self._alone(self.vanilla), drives, drives.driving)

    def alone_transformed(self, drives: Drives) -> Tensor:
        return self._draw(self._alone(self.vanilla), drives, self.transformed(drives))

    def painted(self, drives: Drives) -> Tensor:
        return self._draw(self._alone(self.pix2pix), drives, drives.driving)

    def _alone(self, generator: ExpressionGenerator) -> LINet:
        model, size = self.pipeline.reconstruction.morphable_model, generator.config.image_size
        return LINet(LandmarkConditions(self.pipeline.landmark_lifter, model, size), generator=generator)

    @staticmethod
    def _draw(net: LINet, drives: Drives, target: Tensor) -> Tensor:
        return net(net.prepare(drives.photo, drives.source), target)[1].image


@torch.no_grad()
def evaluate(methods: Methods, drives: Iterator[Drives]) -> Report:
    """
    All figures of the pictures, with the source as it is for a baseline.

    RecAugNet finds the landmarks in pictures. Their error is what they are away from the true ones, its own mistakes
    included, which grow with the turn; their distance is what they are away from those it finds in the true picture,
    as if that were 256 px wide. Drives in which a head turns so far that a landmark leaves the picture have neither,
    since none can be found there. The distance is given once more without those in which it misses the landmarks of the
    true picture, of a profile that hair covers for example. Before drawing, the landmarks that the result is to have
    are measured too.
    """
    reconstruction, scores = methods.pipeline.reconstruction, Scores()
    features, seconds, drawn = PictureFeatures(reconstruction.face_embedder), 0.0, 0
    for batch in drives:
        truth, size = batch.truth, batch.truth.shape[3]
        boxes = landmark_box(batch.wanted * size).cpu().numpy()
        own = faces_of(reconstruction, batch.photo, landmark_box(batch.source * size).cpu().numpy())
        aimed = {FULL: methods.transformed(batch), "driver": batch.driving, UNTOUCHED: batch.source}
        spans = {f"yaw {low}-{high}°": ((batch.yaw >= low) & (batch.yaw < high)).cpu() for low, high in YAWS}
        inside = ((batch.wanted >= 0) & (batch.wanted <= 1)).all(2).all(1).cpu()
        for name, points in aimed.items():
            away = SIZE * keypoint_distance(points, batch.wanted).cpu()
            for span, rows in spans.items():
                scores.add(f"landmarks before drawing, {span}", name, away[rows])
        # the true pictures first, since what is found in them is what the others are compared with
        pictures = {TRUTH: truth, UNTOUCHED: batch.photo.expand_as(truth)}
        for name, draw in methods.by_name.items():
            began = _now(truth.device)
            picture = draw(batch).float().clamp(0, 1)
            if name == FULL:
                seconds, drawn = seconds + _now(truth.device) - began, drawn + len(picture)
            if picture.shape[3] != size:
                picture = F.interpolate(picture, (size, size), mode="bicubic", align_corners=False).clamp(0, 1)
            pictures[name] = picture
        for name, picture in pictures.items():
            scores.add("FID", name, features(picture))
            if name != TRUTH:
                scores.add("SSIM", name, ssim(picture, truth))
            faces = faces_of(reconstruction, picture, boxes)
            found = torch.stack([torch.from_numpy(face.landmarks) for face in faces])
            errors = 100 * landmark_error(found, (batch.wanted * size).cpu())
            if name == TRUTH:
                read, legible = found, errors <= MISSED
            distances = keypoint_distance(found, read) * SIZE / size
            alike = torch.from_numpy((reconstruction.embed(faces) * reconstruction.embed(own)).sum(1))
            for span, rows in spans.items():
                scores.add(f"landmark error, {span}", name, errors[rows & inside])
                scores.add(f"landmark distance, {span}", name, distances[rows & inside])
                scores.add(f"distance where legible, {span}", name, distances[rows & inside & legible])
                scores.add(f"identity cosine, {span}", name, alike[rows])
    report = Report(
        title=f"Reenacted rendered faces of people not trained on, {size} px; FID with {features.name}'s features",
        command="",
        baseline="the source as it is",
    )
    scores.report(report, "SSIM", paper=PAPER_SSIM)
    scores.report_distance(report, "FID", TRUTH, PAPER_FID)
    for figure, unit in (
        ("landmark error", "%"),
        ("landmark distance", "px"),
        ("distance where legible", "px"),
        ("landmarks before drawing", "px"),
        ("identity cosine", ""),
    ):
        for low, high in YAWS:
            scores.report(report, f"{figure}, yaw {low}-{high}°", unit)
    report.details["seconds a picture"] = {"result": seconds / max(drawn, 1), "threads": torch.get_num_threads()}
    return report


def _now(device: torch.device) -> float:
    """Seconds, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def faces_of(reconstruction: RecAugNetPipeline, pictures: Tensor, boxes):
    """The faces in given boxes (B, 4) px of pictures (B, 3, S, S)."""
    return reconstruction.reconstruct(list(to_array(pictures)), [Detection(box, 1.0) for box in boxes])


def add_landmarks(report: Report, pipeline: LINetPipeline, count: int) -> None:
    """What T alone is worth: how far its landmarks, and for a baseline the driver's, are from the true ones."""
    motions = LandmarkMotions(pipeline.reconstruction.morphable_model)
    quartets = motions.sample(count, HELD_OUT_SEED + 1)
    figures = transformer_figures(
        pipeline.landmark_transformer, Lifting(pipeline.landmark_lifter, motions.model), quartets
    )
    yaw = quartets.angles[:, 1].abs().rad2deg()
    for low, high in ((0, 90), *YAWS):
        rows = int(((yaw >= low) & (yaw < high)).sum())
        values = [100 * figures[f"{kind} {low}-{high}"] for kind in ("transformed", "driver", "lifter")]
        report.add(f"landmarks of T, yaw {low}-{high}°", *values[:2], "%", rows, {"lifter alone": values[2]})


def load(weights: str, reconstruction: RecAugNetPipeline) -> LINetPipeline:
    return LINetPipeline.from_pretrained(weights, reconstruction=reconstruction).to(reconstruction.device)


def compared(folder: str | None, device) -> ExpressionGenerator | None:
    """A generator to compare with, in a folder or in its sub-folder of that name."""
    if folder is None:
        return None
    inner = Path(folder) / "expression_generator"
    return load_model(ExpressionGenerator, inner if inner.is_dir() else folder).to(device).eval()


def main(arguments: list[str] | None = None) -> Report:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--weights", default="hub/li-net", help="folder or Hub id of the pipeline")
    add("--reconstruction", default="hub/rec-aug-net", help="folder or Hub id of the reconstruction pipeline")
    add("--vanilla", help="weights of G alone (`train.li_net --module G --variant vanilla`)")
    add("--pix2pix", help="weights of the baseline (`train.li_net --module G --variant pix2pix`)")
    add("--persons", type=int, default=12)
    add("--count", type=int, default=400, help="driving landmarks for each person")
    add("--batch", type=int, default=16)
    add("--landmarks", type=int, default=4096, help="pairs of people with which T alone is measured")
    add("--device", default="cpu")
    add("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    if min(options.persons, options.batch) < 1 or options.count < 2 or options.landmarks < 2:
        raise LirecError("--persons and --batch must be 1 or more, --count and --landmarks 2 or more.")
    reconstruction = RecAugNetPipeline.from_pretrained(options.reconstruction).to(options.device)
    others = (compared(folder, options.device) for folder in (options.vanilla, options.pix2pix))
    methods = Methods(load(options.weights, reconstruction), *others)
    drives = held_out_drives(reconstruction.morphable_model, options.persons, options.count, options.batch, SIZE)
    report = evaluate(methods, drives)
    add_landmarks(report, methods.pipeline, options.landmarks)
    report.command = f"python -m train.evaluate.li_net --persons {options.persons} --count {options.count}"
    for name in ("vanilla", "pix2pix"):
        report.command += f" --{name} DIR" if getattr(options, name) else ""
    print(report)
    rows = {"T + R": {name: report[name].result for name in COLUMNS}}
    for name in (WITH_T, VANILLA, PIX2PIX):
        rows |= {name: {c: report[c].others[name] for c in COLUMNS}} if name in methods.by_name else {}
    rows[UNTOUCHED] = {name: report[name].baseline for name in COLUMNS}
    for table in TABLES:
        print(f"\n{table.text(rows)}")
    print(f"\n{NOTE}")
    if options.json:
        report.save(options.json)
    return report


if __name__ == "__main__":
    command(main)
