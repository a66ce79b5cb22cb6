"""How well a photo's face follows another: the tables of JR2Net's reenactment, and real faces.

    python -m train.evaluate.reenactment [--count 256] [--real DIR] [--videos DIR --portraits DIR] [--json F]
    python -m train.evaluate.reenactment --weights full rendered no_warp no_light    # the same, side by side

DIR of --real holds frames of videos, PPP_VF.jpg (person, video, frame), and `landmarks68.csv`.
"""

import argparse
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lirec import DCNetPipeline, LirecError, RecAugNetPipeline
from lirec.metrics import correlation, jitter, landmark_box, landmark_rmse, psnr, rotation_error, ssim
from lirec.models.dc_net import DCNet
from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from lirec.pipelines.motion import MotionTransfer, strangeness
from lirec.pipelines.reconstruction import Face
from lirec.pipelines.tracking import Motion
from lirec.processing.crop import Crop
from lirec.processing.image import load_image, to_array
from lirec.processing.video import open_video
from train.common import command
from train.data import open_dataset
from train.data.photos import FacePhoto, pictures_below
from train.data.synthetic import HELD_OUT_SEED, RenderedFaces, SyntheticFaces
from train.evaluate.report import Report, Table
from train.evaluate.scores import PAPER, UNTOUCHED, PictureFeatures, Scores
from train.evaluate.studio import REAL_SIZE, WINDOW, Studio, framed

SIZE = 256
"""Pixels of the pictures in which all is measured but real pairs."""
SMALLEST, FADE = 60, 0.06
"""Real pairs have faces of so many pixels or more, whose mean colours do not differ by more."""
CLIP_SEED = HELD_OUT_SEED + 400_000
STILL_FRAMES = 60
MOST_FRAMES = 300
"""Of a driving video."""
VARIES = {"lip gap": 0.0015, "gaze": 0.04, "blink": 0.06}
"""The least standard deviation, metres or weights, of a driver that there is something to follow in."""
VIDEOS = {".mp4", ".mov", ".webm", ".avi", ".mkv"}
EFL = ("cross identity, EFL", "cross identity, EFL of coordinates")
WARP, OWN_LIGHT = "warp alone", "source's light"
NOTE = (
    "The paper's rows: VoxCeleb2, FID with Inception. Rows of lirec: rendered faces, FID with the network named above, "
    "so compare their FID with each other only."
)


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
    studio = Studio(pipeline)
    found = (studio.find(load_image(path)) for path in pictures_below(options.portraits))
    sources = [face for face in found if face is not None]
    if not sources:
        raise LirecError(f"No photo in {options.portraits} shows a face: put portraits there.")
    videos = [read_beginning(path) for path in videos_in(options.videos)]
    add_real_drives(report, pipeline, sources, videos, options.frames)
    add_jitter(report, pipeline, "jitter, real driver", [(sources[0].image, video[0]) for video in videos[:2]])


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
    for name in EFL:
        scores.report(report, name, "px", cross[0])
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
    """Drive a frame by another of the same clip, its light included as in the paper: which is what should come out."""
    image, own_light, warped = studio.drive(sources, drivers, ("driving", "source"))
    target, untouched = studio.pictures(drivers), studio.pictures(sources)
    for kind, picture in (("result", image), (UNTOUCHED, untouched), (WARP, warped), (OWN_LIGHT, own_light)):
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
        add_efl(scores, kind, found, wanted, size)
        scores.add("cross identity, FID", kind, features(studio.pictures(faces)))
        scores.add("cross identity, cosine to the source", kind, studio.likeness(faces, sources))
        scores.add("cross identity, cosine to the driver", kind, studio.likeness(faces, drivers))
    # How much two people differ in shape: no picture can do much better.
    mesh = studio.landmarks(sources, drivers).cpu()
    add_efl(scores, "driven mesh", mesh, wanted, size)
    scores.add("cross identity, FID", "sources", features(studio.pictures(sources)))
    scores.add("cosine", "other person", studio.likeness(sources, drivers))


def add_efl(scores: Scores, kind: str, found: Tensor, wanted: Tensor, size: int) -> None:
    """JR2Net's "RMSE of facial landmarks", for which it prints no formula: of points, and of their coordinates."""
    of_points = landmark_rmse(found, wanted) * SIZE / size
    for name, value in zip(EFL, (of_points, of_points / math.sqrt(2)), strict=True):
        scores.add(name, kind, value)


def real_pair(studio: Studio, source: Face, driver: Face, scores: Scores) -> None:
    """Drive a frame of a video by another. Only the face is compared: their windows, and so backgrounds, differ."""
    image, warped = studio.drive([source], [driver], ("driving",))
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
    sources: Sequence[Face],
    videos: Sequence[Sequence[np.ndarray]],
    count: int,
) -> None:
    """Each photo moved by each video, relative, without smoothing; what moved is measured by RecAugNet on the result.

    Args:
        sources: faces in their photos.
        videos: frames (H, W, 3) uint8 of a driver, in a row.
        count: at most so many frames of each are measured, evenly spread.
    """
    studio, scores, lost, total = Studio(pipeline), Scores(), 0, 0
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
    """
    What faces (N) do that is followed: lip gap (N, 1) in metres, gaze (N, 2) across and up, blink (N, 1).

    The gap is the face's own up and down, as it is seen: how far one lip stands out before the other is no gap, and
    lips that overlap are closed.
    """
    names = {name: index for index, name in enumerate(faces[0].expression_names)}
    weights = torch.from_numpy(np.stack([face.expression for face in faces]))

    def mean(*parts: str) -> Tensor:
        return torch.stack([weights[:, names[part]] for part in parts], 1).mean(1)

    upper, lower = faces[0].model.landmark_vertices[[62, 66]].tolist()
    gaps = [max(0.0, float(face.vertices[upper, 1] - face.vertices[lower, 1])) for face in faces]
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
            first = studio.watch(images[:1], [0]).get(0)
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
