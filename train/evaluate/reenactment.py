"""How well a photo's face follows another: the tables of JR2Net's reenactment, and real faces.

    python -m train.evaluate.reenactment [--count 256] [--real DIR] [--videos DIR --portraits DIR] [--json F]
    python -m train.evaluate.reenactment --weights full rendered no_warp no_light    # the same, side by side

DIR of --real holds frames of videos, PPP_VF.jpg (person, video, frame), and `landmarks68.csv`.
"""

import argparse
import io
import math
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lirec import DCNetPipeline, LirecError, RecAugNetPipeline
from lirec.geometry import matrix_to_euler, project, rasterize
from lirec.geometry.view_synthesis import HeadView, warp
from lirec.metrics import (
    correlation,
    frechet_distance,
    jitter,
    landmark_box,
    landmark_rmse,
    psnr,
    rotation_error,
    ssim,
)
from lirec.models.conditions import ConditionRenderer
from lirec.models.dc_net import DCNet
from lirec.models.face_embedder import FaceEmbedder
from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from lirec.pipelines.motion import MotionTransfer, strangeness
from lirec.pipelines.reconstruction import Face
from lirec.pipelines.tracking import FaceTracker, Motion
from lirec.processing.crop import Crop
from lirec.processing.detection import Detection
from lirec.processing.image import load_image, to_array, to_tensor
from lirec.processing.video import open_video
from train.common import command
from train.data import open_dataset
from train.data.pairs import place_on_landmarks
from train.data.photos import FacePhoto, pictures_below
from train.data.synthetic import HELD_OUT_SEED, RenderedFaces, SyntheticFaces
from train.evaluate.report import Report, align

SIZE = 256
"""Pixels of the pictures in which all is measured but real pairs."""
REAL_SIZE, WINDOW, RISE = 128, 2.1, 0.06
"""Pixels of real pairs; their window's side over the face box's, and how far, in sides, its middle is above."""
SMALLEST, FADE = 60, 0.06
"""Real pairs have faces of so many pixels or more, whose mean colours do not differ by more."""
CLIP_SEED = HELD_OUT_SEED + 400_000
STILL_FRAMES = 60
MOST_FRAMES = 300
"""Of a driving video."""
VARIES = {"lip gap": 0.0015, "gaze": 0.04, "blink": 0.06}
"""The least standard deviation, metres or weights, of a driver that there is something to follow in."""
VIDEOS = {".mp4", ".mov", ".webm", ".avi", ".mkv"}
NOTE = (
    "The paper's rows: VoxCeleb2, FID with Inception. Rows of lirec: rendered faces, FID with the network named above, "
    "so compare their FID with each other only."
)
UNTOUCHED, WARP, PAPER = "source untouched", "warp alone", "paper"


@dataclass(frozen=True)
class Table:
    """A table of JR2Net: its title, the figures of ours that its columns are, and its rows."""

    title: str
    columns: dict[str, str]
    rows: dict[str, tuple[float, ...]]

    def text(self, ours: dict[str, dict[str, float]]) -> str:
        """The table with rows of ours, by name: figure -> value."""
        rows = [("", *self.columns)]
        rows += [(name, *(f"{value:.4g}" for value in values)) for name, values in self.rows.items()]
        for name, figures in ours.items():
            values = (figures.get(figure, math.nan) for figure in self.columns.values())
            rows.append((f"lirec, {name}", *("-" if math.isnan(value) else f"{value:.4g}" for value in values)))
        return "\n".join((self.title, *align(rows)))


def _same(*columns: str) -> dict[str, str]:
    return {column: f"same identity, {column}" for column in columns}


TABLES = (
    Table(
        "Table 1 of JR2Net: cross identity",
        {"EFL": "cross identity, EFL", "FID": "cross identity, FID"},
        {"Bilayer": (2.88, 55.10), "FOM": (17.29, 41.48), "GANimation": (10.89, 47.36), "JR2Net": (2.50, 37.45)},
    ),
    Table(
        "Table 2 of JR2Net: same identity",
        _same("L1", "PSNR", "SSIM", "FID"),
        {
            "Bilayer": (0.1486, 13.32, 0.5435, 67.20),
            "FOM": (0.0604, 21.28, 0.7132, 19.57),
            "GANimation": (0.0999, 17.02, 0.5129, 24.89),
            "Dual-G": (0.1123, 18.82, 0.5731, 43.38),
            "JR2Net": (0.0418, 23.01, 0.7798, 19.25),
        },
    ),
    Table(
        "Table 5 of JR2Net: ablations, same identity",
        _same("L1", "PSNR", "SSIM"),
        {
            "Ours-R": (0.044, 22.31, 0.772),
            "Ours-P": (0.045, 22.38, 0.773),
            "Ours-L": (0.048, 22.11, 0.761),
            "Ours": (0.042, 23.01, 0.779),
        },
    ),
)
ABLATIONS = {"full": "Ours", "rendered": "Ours-R", "no_warp": "Ours-P", "no_light": "Ours-L"}
"""The paper's name of each value of DCNet's `condition`."""


def main(arguments: list[str] | None = None) -> Report:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--weights", nargs="+", default=["hub/dc-net"], help="pipelines (folder or Hub id) or folders of networks")
    add("--reconstruction", default="hub/rec-aug-net", help="folder or Hub id of the reconstruction pipeline")
    add("--count", type=int, default=256, help="how many rendered pairs, each of another person")
    add("--batch", type=int, default=16)
    add("--real", type=Path, help="folder of real frames: same identity, at 128 pixels")
    add("--pairs", type=int, default=60, help="at most so many pairs of real frames, evenly spread")
    add("--videos", type=Path, help="folder of driving videos; with --portraits")
    add("--portraits", type=Path, help="folder of photos to drive; with --videos")
    add("--frames", type=int, default=60, help="measure at most so many frames of each video, evenly spread")
    add("--device", default="cpu")
    add("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    if options.count < 2 or min(options.batch, options.pairs, options.frames) < 2:
        raise LirecError("--count, --batch, --pairs and --frames must be 2 or more.")
    if bool(options.videos) != bool(options.portraits):
        raise LirecError("Give --videos and --portraits, or neither.")
    reconstruction = RecAugNetPipeline.from_pretrained(options.reconstruction).to(options.device)
    if options.videos:
        videos_in(options.videos)  # before hours are spent on the rest
    pairs = real_pairs(options.real, options.pairs) if options.real else []
    reports, conditions = {}, {}
    for weights in options.weights:
        pipeline = load(weights, reconstruction)
        clips = held_out_clips(reconstruction.morphable_model, options.count, options.batch)
        name = Path(weights).name
        reports[name] = report = evaluate(pipeline, clips, pairs)
        conditions[name] = pipeline.dc_net.config.condition
        if len(options.weights) > 1:
            print(name, report, sep="\n", end="\n\n", flush=True)
    if len(options.weights) == 1:
        add_drives(report, pipeline, options)
    else:
        report = compare(reports, conditions)
    report.command = "python -m train.evaluate.reenactment"
    if options.weights != ["hub/dc-net"]:
        report.command += f" --weights {' '.join(reports)}"
    report.command += f" --count {options.count}"
    for name in ("real", "videos", "portraits"):
        if getattr(options, name):
            report.command += f" --{name} DIR"
    print(report)
    for table in TABLES:
        print(f"\n{table.text(paper_rows(reports))}")
    print(f"\n{NOTE}")
    if options.json:
        report.save(options.json)
    return report


def add_drives(report: Report, pipeline: DCNetPipeline, options: argparse.Namespace) -> None:
    """Jitter, and what real videos do to real photos where there are some."""
    clip = next(held_out_clips(pipeline.reconstruction.morphable_model, 4, 4))
    rendered = list(to_array(clip.image))
    add_jitter(report, pipeline, "jitter, rendered driver", list(zip(rendered[:4:2], rendered[5::2], strict=True)))
    if options.videos:
        add_real(report, pipeline, options)


def add_real(report: Report, pipeline: DCNetPipeline, options: argparse.Namespace) -> None:
    """What the videos of a folder do to the photos of another, and jitter with them."""
    photos = [load_image(path) for path in pictures_below(options.portraits)]
    photos = [photo for photo in photos if Studio(pipeline).find(photo) is not None]
    if not photos:
        raise LirecError(f"No photo in {options.portraits} shows a face: put portraits there.")
    videos = [read_beginning(path) for path in videos_in(options.videos)]
    add_real_drives(report, pipeline, photos, videos, options.frames)
    add_jitter(report, pipeline, "jitter, real driver", [(photos[0], video[0]) for video in videos[:2]])


def load(weights: str, reconstruction: RecAugNetPipeline) -> DCNetPipeline:
    """A pipeline (folder or Hub id), or the DCNet that lies in a folder or in its sub-folder `dc_net`."""
    folder = Path(weights)
    for place in (folder, folder / "dc_net"):
        if (place / "config.json").is_file() and not (folder / DCNetPipeline.config_name).is_file():
            pipeline = DCNetPipeline(load_model(DCNet, place), reconstruction)
            break
    else:
        pipeline = DCNetPipeline.from_pretrained(weights, reconstruction=reconstruction)
    return pipeline.to(reconstruction.device)


# the pictures -----------------------------------------------------------------------------------------------------


def held_out_clips(model: MorphableModel, count: int, batch: int, size: int = SIZE) -> Iterator[RenderedFaces]:
    """Batches of two rendered frames each of `count` scenes with people that training never sees."""
    renderer = SyntheticFaces(model, size, model.device)
    for start in range(0, count, batch):
        yield renderer.sample_clips(min(batch, count - start), 2, CLIP_SEED + start, wild=0)


def real_pairs(root: Path, count: int) -> list[tuple[FacePhoto, FacePhoto]]:
    """The first and the last frame of videos, at most `count` pairs, evenly spread.

    Videos are left out whose face is small, or fades so that no motion could give the last frame.

    Raises:
        LirecError: there is no pair.
    """
    photos = open_dataset("folder", root)
    videos = defaultdict(list)
    for number in photos.labelled:
        videos[photos.files[number].stem[:-1]].append(number)
    pairs = [(photos[frames[0]], photos[frames[-1]]) for frames in videos.values() if len(frames) > 1]
    pairs = [pair for pair in pairs if _comparable(*pair)]
    if not pairs:
        raise LirecError(f"{root} holds no two frames of one video: name them PPP_VF.jpg, as 012_00.jpg, 012_01.jpg.")
    keep = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
    return [pairs[i] for i in keep]


def _comparable(*photos: FacePhoto) -> bool:
    small = min((photo.box[2:] - photo.box[:2]).max() for photo in photos) < SMALLEST
    first, last = (Crop.from_box(photo.box, 1).extract(photo.image, 32).mean((0, 1)) for photo in photos)
    return not small and np.abs(first - last).max() <= 255 * FADE


def framed(face: Face, size: int = REAL_SIZE) -> Face:
    """The same face in a square window on its picture, drawn `size` px wide."""
    window = Crop.from_box(face.box, WINDOW)
    window = Crop((window.centre[0], window.centre[1] - RISE * window.side), window.side)
    return replace(
        face,
        image=window.extract(face.image, size),
        landmarks=window.to_crop(face.landmarks, size),
        box=window.to_crop(face.box.reshape(2, 2), size).reshape(4),
        intrinsics=(window.matrix(size) @ face.intrinsics).astype(np.float32),
    )


# driving and looking ----------------------------------------------------------------------------------------------


class Studio:
    """Drives faces with DCNet, and looks at what comes out with the reconstruction's networks.

    All pictures are square and of one size S, and a driven head is put where the driver's is in its picture: its
    landmarks have the middle and the spread of the driver's.

    Args:
        pipeline: the networks.
    """

    def __init__(self, pipeline: DCNetPipeline):
        self.network, self.reconstruction = pipeline.dc_net, pipeline.reconstruction
        self.model = self.reconstruction.morphable_model
        self.renderer = ConditionRenderer(self.model, self.network.config.image_size)

    @torch.no_grad()
    def look(self, pictures: Tensor | Sequence[np.ndarray], boxes) -> list[Face]:
        """The faces in given boxes (B, 4) px of pictures, (B, 3, S, S) or arrays."""
        images = list(to_array(pictures)) if isinstance(pictures, Tensor) else list(pictures)
        boxes = boxes.cpu().numpy() if isinstance(boxes, Tensor) else np.stack(boxes)
        return self.reconstruction.reconstruct(images, [Detection(box, 1.0) for box in boxes])

    def watch(self, frames: Iterable[np.ndarray], chosen: Container[int]) -> dict[int, Face]:
        """The largest face followed through frames: those of the chosen frames in which it is seen, by their index."""
        tracker, faces = FaceTracker(self.reconstruction), {}
        for index, frame in enumerate(frames):
            if tracker.follow(frame).motion is not None and index in chosen:
                (faces[index],) = self.look([frame], [tracker.box])
        return faces

    def find(self, picture: np.ndarray) -> Face | None:
        """The largest face of a picture."""
        return self.watch([picture], [0]).get(0)

    @torch.no_grad()
    def drive(self, sources: Sequence[Face], drivers: Sequence[Face]) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, S, S) of the sources with the drivers' expressions and poses: DCNet's, and the warp's."""
        photo = self.pictures(sources)
        source = self.renderer.source(photo, self.view(sources, sources))
        driven = self.renderer.driven(source, self.view(sources, drivers))
        image = self.network(source, driven).image.float().clamp(0, 1)
        if image.shape[2:] != photo.shape[2:]:
            image = F.interpolate(image, photo.shape[2:], mode="bilinear", antialias=True, align_corners=False)
        return image, warp(photo, driven.fine.correspondence.grid)

    def view(self, shapes: Sequence[Face], motions: Sequence[Face]) -> HeadView:
        """Heads of one's shape and the other's expression, pose and camera, their landmarks about where the other's
        are."""
        size = motions[0].image.shape[0]
        unit = np.diag([1 / size, 1 / size, 1])
        view = HeadView(
            self.model(
                self._stack(face.identity for face in shapes), self._stack(face.expression for face in motions)
            ),
            self._stack(face.rotation for face in motions),
            self._stack(face.translation for face in motions),
            self._stack(unit @ face.intrinsics for face in motions),
        )
        wanted = self._stack(face.landmarks for face in motions) / size
        view.translation = place_on_landmarks(view, wanted, self.model)
        return view

    def pictures(self, faces: Sequence[Face]) -> Tensor:
        """(B, 3, S, S) that the faces are in."""
        return to_tensor(np.stack([face.image for face in faces]), self.model.device)

    @torch.no_grad()
    def face_mask(self, faces: Sequence[Face]) -> Tensor:
        """(B, 1, S, S) 1 where skin, eyes or mouth are seen: not hair, ears and neck."""
        view, size = self.view(faces, faces), faces[0].image.shape[0]
        points = project(view.vertices, view.rotation, view.translation, view.K) * self._numbers((size, size, 1))
        triangle = rasterize(points, self.model.triangles, size, size).triangle
        is_face = ~self.model.select_triangles("scalp", "ear", "neck")
        return ((triangle >= 0) & is_face[triangle.clamp_min(0)])[:, None]

    @torch.no_grad()
    def landmarks(self, shapes: Sequence[Face], motions: Sequence[Face]) -> Tensor:
        """(B, 68, 2) px, of the heads of `view`."""
        view, size = self.view(shapes, motions), motions[0].image.shape[0]
        points = project(view.vertices, view.rotation, view.translation, view.K)
        return size * self.model.landmarks(points, matrix_to_euler(view.rotation))

    def rotations(self, faces: Sequence[Face]) -> Tensor:
        """(B, 3, 3)."""
        return self._stack(face.rotation for face in faces).cpu()

    def likeness(self, faces: Sequence[Face], others: Sequence[Face]) -> Tensor:
        """(B,) cosines of the identity vectors of faces and others."""
        return torch.from_numpy((self.reconstruction.embed(faces) * self.reconstruction.embed(others)).sum(1))

    def _stack(self, arrays: Iterable[np.ndarray]) -> Tensor:
        return self._numbers(np.stack(list(arrays)))

    def _numbers(self, values) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.model.device)


class PictureFeatures:
    """What FID compares: Inception's features where its weights are, else those of lirec's FaceEmbedder.

    Inception comes with the package torch-fidelity, and its weights are taken from the cache of torch.hub only.

    Attributes:
        name: of the network.
    """

    INCEPTION = "weights-inception-2015-12-05-6726825d.pth"

    def __init__(self, embedder: FaceEmbedder):
        self.embedder, self.inception = embedder, None
        self.name = "FaceEmbedder"
        if find_spec("torch_fidelity") and (Path(torch.hub.get_dir()) / "checkpoints" / self.INCEPTION).is_file():
            from torchmetrics.image.fid import FrechetInceptionDistance

            self.inception = FrechetInceptionDistance(2048).inception.to(embedder.device)
            self.name = "Inception"

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> (B, D): Inception's last, or the means of the FaceEmbedder's four stages."""
        if self.inception is not None:
            return self.inception((255 * pictures).round().byte()).cpu()
        return torch.cat([stage.float().mean((2, 3)) for stage in self.embedder.features(pictures)], 1).cpu()


class Scores:
    """What was measured of each picture, by figure and by what drew it."""

    def __init__(self):
        self.values: dict[tuple[str, str], list[Tensor]] = defaultdict(list)

    def add(self, figure: str, kind: str, values: Tensor) -> None:
        self.values[figure, kind].append(values.detach().cpu())

    def mean(self, figure: str, kind: str) -> float:
        return float(torch.cat(self.values[figure, kind]).double().mean())

    def report(self, report: Report, figure: str, unit: str = "", paper: float = math.nan, baseline: float = math.nan):
        """Append the means of a figure; `baseline` is for figures that were not measured on the source."""
        parts = {kind: torch.cat(values) for (name, kind), values in self.values.items() if name == figure}
        count = len(parts["result"]) if "result" in parts else 0
        means = {kind: float(values.double().nanmean()) for kind, values in parts.items()}
        self._append(report, figure, {"result": math.nan, UNTOUCHED: baseline, **means}, unit, count, paper)

    def report_distance(self, report: Report, figure: str, target: str, paper: float) -> None:
        """Append the Fréchet distance of a figure's features to those of the target pictures."""
        parts = {kind: torch.cat(values) for (name, kind), values in self.values.items() if name == figure}
        reference = parts.pop(target)
        distances = {kind: round(frechet_distance(features, reference), 6) for kind, features in parts.items()}
        self._append(report, figure, distances, "", len(reference), paper)

    @staticmethod
    def _append(report, figure, numbers, unit, count, paper) -> None:
        result, baseline = numbers.pop("result"), numbers.pop(UNTOUCHED)
        report.add(figure, result, baseline, unit, count, {**numbers, PAPER: paper})


# the measurements -------------------------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(
    pipeline: DCNetPipeline, clips: Iterable[RenderedFaces], pairs: Sequence[tuple[FacePhoto, FacePhoto]] = ()
) -> Report:
    """Same and cross identity on rendered clips of two frames, and same identity on pairs of real frames."""
    studio, scores = Studio(pipeline), Scores()
    features = PictureFeatures(pipeline.reconstruction.face_embedder)
    before = []
    for clip in clips:
        faces = studio.look(clip.image, landmark_box(clip.landmarks))
        sources, drivers = faces[::2], faces[1::2]
        same_identity(studio, features, sources, drivers, scores)
        cross_identity(studio, features, sources, others(drivers, before), scores)
        before = drivers
    for pair in pairs:
        source, driver = (framed(studio.look([photo.image], [photo.box])[0]) for photo in pair)
        real_pair(studio, source, driver, scores)

    report = Report(
        title=f"Driven faces: rendered ones of people not trained on, {SIZE} px; FID with {features.name}'s features",
        command="",
        baseline="the source as it is; of jitter, the driving picture itself",
    )
    same, cross = TABLES[1].rows["JR2Net"], TABLES[0].rows["JR2Net"]
    for name, unit, paper in zip(("L1", "PSNR", "SSIM"), ("", "dB", ""), same[:3], strict=True):
        scores.report(report, f"same identity, {name}", unit, paper)
    scores.report_distance(report, "same identity, FID", "drivers", same[3])
    scores.report(report, "cross identity, EFL", "px", cross[0])
    scores.report_distance(report, "cross identity, FID", "sources", cross[1])
    for name in ("cross identity, cosine to the source", "cross identity, cosine to the driver"):
        scores.report(report, name)
    report.details["identity cosines"] = {
        "two frames of one person": scores.mean("cosine", "same person"),
        "two people": scores.mean("cosine", "other person"),
    }
    if pairs:
        scores.report(report, f"real pairs, SSIM of the face at {REAL_SIZE} px")
        scores.report(report, "real pairs, rotation error", "°")
    return report


def others(drivers: list[Face], before: list[Face]) -> list[Face]:
    """Another person for each: the next of the batch; for one who is alone in it, the first of the batch before."""
    return drivers[1:] + (drivers if len(drivers) > 1 else before)[:1]


def same_identity(studio: Studio, features, sources: list[Face], drivers: list[Face], scores: Scores) -> None:
    """Drive a frame by another of the same clip, which is what should come out."""
    image, warped = studio.drive(sources, drivers)
    target, untouched = studio.pictures(drivers), studio.pictures(sources)
    for kind, picture in (("result", image), (UNTOUCHED, untouched), (WARP, warped)):
        scores.add("same identity, L1", kind, (picture - target).abs().flatten(1).mean(1))
        scores.add("same identity, PSNR", kind, psnr(picture, target))
        scores.add("same identity, SSIM", kind, ssim(picture, target))
        scores.add("same identity, FID", kind, features(picture))
    scores.add("same identity, FID", "drivers", features(target))
    scores.add("cosine", "same person", studio.likeness(sources, drivers))


def cross_identity(studio: Studio, features, sources: list[Face], drivers: list[Face], scores: Scores) -> None:
    """Drive each source by another person's expression and pose, absolute."""
    image, warped = studio.drive(sources, drivers)
    size = image.shape[-1]
    boxes = [face.box for face in drivers]
    outcomes = {"result": studio.look(image, boxes), UNTOUCHED: sources, WARP: studio.look(warped, boxes)}
    wanted = torch.from_numpy(np.stack([face.landmarks for face in drivers]))
    for kind, faces in outcomes.items():
        found = torch.from_numpy(np.stack([face.landmarks for face in faces]))
        scores.add("cross identity, EFL", kind, landmark_rmse(found, wanted) * SIZE / size)
        scores.add("cross identity, FID", kind, features(studio.pictures(faces)))
        scores.add("cross identity, cosine to the source", kind, studio.likeness(faces, sources))
        scores.add("cross identity, cosine to the driver", kind, studio.likeness(faces, drivers))
    # How much two people differ in shape: no picture can do much better.
    mesh = studio.landmarks(sources, drivers).cpu()
    scores.add("cross identity, EFL", "driven mesh", landmark_rmse(mesh, wanted) * SIZE / size)
    scores.add("cross identity, FID", "sources", features(studio.pictures(sources)))
    scores.add("cosine", "other person", studio.likeness(sources, drivers))


def real_pair(studio: Studio, source: Face, driver: Face, scores: Scores) -> None:
    """Drive a frame of a video by another. Only the face is compared: their windows, and so backgrounds, differ."""
    image, warped = studio.drive([source], [driver])
    target, mask = studio.pictures([driver]), studio.face_mask([driver])
    wanted = studio.rotations([driver])
    for kind, picture in (("result", image), (UNTOUCHED, studio.pictures([source])), (WARP, warped)):
        faces = [source] if kind == UNTOUCHED else studio.look(picture, [driver.box])
        scores.add(f"real pairs, SSIM of the face at {REAL_SIZE} px", kind, ssim(picture, target, mask))
        scores.add("real pairs, rotation error", kind, rotation_error(studio.rotations(faces), wanted))


# whole drives: the pipeline as it is used ---------------------------------------------------------------------------


@torch.no_grad()
def add_real_drives(
    report: Report,
    pipeline: DCNetPipeline,
    photos: Sequence[np.ndarray],
    videos: Sequence[Sequence[np.ndarray]],
    count: int,
) -> None:
    """Each photo moved by each video, relative, without smoothing; what moved is measured by RecNet on the result.

    Args:
        photos: pictures (H, W, 3) uint8 with a face each.
        videos: frames (H, W, 3) uint8 of a driver, in a row.
        count: at most so many frames of each are measured, evenly spread.
    """
    studio, scores, lost, total = Studio(pipeline), Scores(), 0, 0
    sources = [studio.find(photo) for photo in photos]
    for frames in videos:
        chosen = set(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int).tolist())
        drivers = studio.watch(frames, chosen)
        if len(drivers) < 2:
            raise LirecError("There is a driving video without a face: take it out of the folder.")
        motions = {index: Motion.of(face) for index, face in drivers.items()}
        for source in sources:
            still = Motion.of(source)
            reference = min(motions, key=lambda index: strangeness(motions[index], still, studio.model))
            transfer = MotionTransfer(still, motions[reference], pipeline.expression_names)
            result = pipeline.frames(
                source.image, frames, box=source.box, reference=reference, smoothing=False, paste=False, size=SIZE
            )
            results = studio.watch((frame.image for frame in result), drivers)
            lost, total = lost + len(drivers) - len(results), total + len(drivers)
            if len(results) < 2:
                continue
            found, wanted = list(results.values()), [drivers[index] for index in results]
            turns = torch.from_numpy(np.stack([transfer(motions[index]).rotation for index in results]))
            scores.add("real drives, rotation error", "result", rotation_error(studio.rotations(found), turns))
            start = studio.rotations([source]).expand_as(turns)
            scores.add("real drives, rotation error", UNTOUCHED, rotation_error(start, turns))
            for name, values in followed(signals(found), signals(wanted)).items():
                scores.add(f"real drives, {name} correlation", "result", values)
            scores.add("real drives, cosine to the source", "result", studio.likeness(found, [source] * len(found)))
    scores.report(report, "real drives, rotation error", "°")
    for name in VARIES:
        scores.report(report, f"real drives, {name} correlation", baseline=0)
    scores.report(report, "real drives, cosine to the source", baseline=1)
    report.add("real drives, frames without a face", 100 * lost / total, 0, "%", total)


def signals(faces: Sequence[Face]) -> dict[str, Tensor]:
    """What faces (N) do that is followed: lip gap (N, 1) in metres, gaze (N, 2) across and up, blink (N, 1)."""
    names = {name: index for index, name in enumerate(faces[0].expression_names)}
    weights = torch.from_numpy(np.stack([face.expression for face in faces]))

    def mean(*parts: str) -> Tensor:
        return torch.stack([weights[:, names[part]] for part in parts], 1).mean(1)

    upper, lower = faces[0].model.landmark_vertices[[62, 66]].tolist()
    gaps = [float(np.linalg.norm(face.vertices[upper] - face.vertices[lower])) for face in faces]
    across = mean("eyeLookOutLeft", "eyeLookInRight") - mean("eyeLookInLeft", "eyeLookOutRight")
    up = mean("eyeLookUpLeft", "eyeLookUpRight") - mean("eyeLookDownLeft", "eyeLookDownRight")
    return {
        "lip gap": torch.tensor(gaps)[:, None],
        "gaze": torch.stack((across, up), 1),
        "blink": mean("eyeBlinkLeft", "eyeBlinkRight")[:, None],
    }


def followed(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Correlations over the frames of each signal that varies in the driver, see `VARIES`."""
    return {name: correlation(found[name], wanted[name])[wanted[name].std(0) >= VARIES[name]] for name in found}


@torch.no_grad()
def add_jitter(
    report: Report,
    pipeline: DCNetPipeline,
    name: str,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    frames: int = STILL_FRAMES,
) -> None:
    """How much landmarks of the result tremble while the driver's picture stands still but for noise and compression.

    Args:
        name: of the figure.
        pairs: photos and driving pictures (H, W, 3) uint8.
        frames: how many copies of the driving picture.
    """
    studio, tremble = Studio(pipeline), defaultdict(list)
    for photo, picture in pairs:
        stills = still_frames(picture, frames)
        pictures = {"driver": stills}
        for kind, smoothing in (("result", True), ("not smoothed", False)):
            drawn = pipeline.frames(photo, stills, smoothing=smoothing, paste=False, size=SIZE)
            pictures[kind] = [frame.image for frame in drawn]
        for kind, images in pictures.items():
            first = studio.find(images[0])
            if first is None:
                raise LirecError(f"No face was found in a picture of the {kind} to measure jitter with.")
            landmarks = [face.landmarks for face in studio.look(images, [first.box] * len(images))]
            edge = (first.box[2:] - first.box[:2]).max()
            scale = SIZE / (WINDOW * edge) if kind == "driver" else 1.0
            tremble[kind].append(jitter(torch.from_numpy(np.stack(landmarks))) * scale)
    means = {kind: float(np.mean(values)) for kind, values in tremble.items()}
    report.add(name, means["result"], means["driver"], "px", len(pairs))
    report.add(f"{name}, not smoothed", means["not smoothed"], means["driver"], "px", len(pairs))


def still_frames(picture: np.ndarray, count: int, seed: int = 0) -> list[np.ndarray]:
    """Copies of a picture (H, W, 3) uint8 as a poor camera sends them: sensor noise, and JPEG of changing quality."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(count):
        noisy = picture + rng.normal(0, 4, picture.shape)
        stream = io.BytesIO()
        Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(
            stream, "JPEG", quality=int(rng.integers(60, 96))
        )
        frames.append(load_image(stream.getvalue()))
    return frames


def videos_in(folder: Path) -> list[Path]:
    """
    Raises:
        LirecError: there is no such folder, or no video in it.
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    videos = [path for path in paths if path.suffix.lower() in VIDEOS]
    if not videos:
        raise LirecError(f"There is no video in {folder}: put driving videos (MP4) there.")
    return videos


def read_beginning(path: Path) -> list[np.ndarray]:
    """The first `MOST_FRAMES` frames (H, W, 3) uint8 of a video."""
    with open_video(path) as video:
        return [frame.image for frame in islice(video, MOST_FRAMES)]


# tables -----------------------------------------------------------------------------------------------------------


def compare(reports: dict[str, Report], conditions: dict[str, str]) -> Report:
    """One report of several networks: each figure of each, beside the paper's ablations.

    Args:
        reports: by the networks' names.
        conditions: DCNet's `condition` of each.
    """
    first = next(iter(reports.values()))
    result = Report(title=first.title, command="", baseline=first.baseline)
    ablations = TABLES[2]
    for figure in first.figures:
        for name, report in reports.items():
            own = report[figure.figure]
            others = {**own.others, PAPER: math.nan}
            if figure.figure in ablations.columns.values():
                column = list(ablations.columns.values()).index(figure.figure)
                others[PAPER] = ablations.rows[ABLATIONS[conditions[name]]][column]
            result.add(f"{figure.figure}: {name}", own.result, own.baseline, own.unit, own.samples, others)
    return result


def paper_rows(reports: dict[str, Report]) -> dict[str, dict[str, float]]:
    """Rows for the paper's tables: what each network, the warp alone and the untouched source reach."""
    rows = {name: {f.figure: f.result for f in report.figures} for name, report in reports.items()}
    figures = next(iter(reports.values())).figures
    rows[WARP] = {f.figure: f.others[WARP] for f in figures if WARP in f.others}
    rows[UNTOUCHED] = {f.figure: f.baseline for f in figures}
    return rows


if __name__ == "__main__":
    command(main)
