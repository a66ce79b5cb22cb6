"""Reconstructed meshes against true surfaces (JR2Net, Tables 3 and 4, and the ablations).

    python -m train.evaluate.meshes [--method NAME=FOLDER[:recnet] ...]
    python -m train.evaluate.meshes --protocol facewarehouse --root DIR
    python -m train.evaluate.meshes --protocol frgc --root DIR

Without a set of scans, held-out rendered people make FaceWarehouse's twenty expressions, and the true mesh is known.
FOLDER is a pipeline's, or the output of a training that holds `rec_net`, `et_net` or both.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import nan
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lirec import LirecError, RecAugNetPipeline
from lirec.geometry import icp, point_to_surface_distance, similarity_align
from lirec.metrics import landmark_box, shape_error
from lirec.models.et_net import ETNet
from lirec.models.morphable_model import MorphableModel
from lirec.models.rec_net import RecNet
from lirec.models.weights import load_model
from lirec.pipelines.reconstruction import Face
from lirec.processing.image import to_array
from train.common import command
from train.data.facewarehouse import EXPRESSIONS, FaceWarehouseScans
from train.data.frgc import FRGCScans
from train.data.scans import NOSE_TIP, Scan
from train.data.skins import Dice
from train.data.synthetic import HELD_OUT_SEED, Motion, SyntheticFaces
from train.evaluate import options as command_line
from train.evaluate.report import Report

SIZE = 224  # px of rendered pictures
PEOPLE = 10
MEASURED = 20_000  # points of a scan that are measured at most, evenly chosen
FITTED = 600  # of them, that ICP moves
MARGIN = 0.03  # metres round the measured part
SURFACE = ("skin", "lips", "brows", "neck", "eye_left", "eye_right")

POSES: dict[str, dict[str, float]] = {
    "neutral": {},
    "mouth stretch": {"jawOpen": 0.9, "mouthStretch": 0.3},
    "smile": {"mouthSmile": 0.8, "cheekSquint": 0.5},
    "brow lower": {"browDown": 0.9},
    "brow raise": {"browInnerUp": 0.9, "browOuterUp": 0.9},
    "anger": {"browDown": 0.8, "noseSneer": 0.7, "eyeSquint": 0.4, "mouthPress": 0.5},
    "jaw left": {"jawLeft": 0.9},
    "jaw right": {"jawRight": 0.9},
    "jaw forward": {"jawForward": 0.9},
    "mouth left": {"mouthLeft": 0.9},
    "mouth right": {"mouthRight": 0.9},
    "dimpler": {"mouthDimple": 0.9},
    "chin raise": {"mouthShrugLower": 0.9, "mouthShrugUpper": 0.5},
    "lip puckerer": {"mouthPucker": 0.9},
    "lip funneler": {"mouthFunnel": 0.9, "jawOpen": 0.2},
    "sadness": {"mouthFrown": 0.8, "browInnerUp": 0.7},
    "lip roll": {"mouthRollLower": 0.9, "mouthRollUpper": 0.9},
    "grin": {"mouthSmile": 0.8, "mouthUpperUp": 0.6, "mouthLowerDown": 0.5},
    "cheek blowing": {"cheekPuff": 0.9, "mouthPucker": 0.2},
    "eye closed": {"eyeBlink": 1.0},
}
"""FaceWarehouse's expressions as ARKit weights; without a side, of both."""

TABLE_4 = {  # RMSE, STD, median, largest 80 %, mm
    "3DDFA": (2.24, 0.44, 2.22, 2.60),
    "PRNet": (2.48, 0.44, 2.46, 2.85),
    "MGCNet": (1.97, 0.39, 1.96, 2.27),
    "DECA": (1.90, 0.36, 1.86, 2.18),
    "RecNet": (1.90, 0.40, 1.85, 2.24),
    "Baseline": (1.98, 0.42, 1.97, 2.35),
    "RecCopyNet": (1.89, 0.34, 1.73, 2.04),
    "RecDataNet": (1.92, 0.35, 1.74, 2.14),
    "RecAugNet": (1.78, 0.35, 1.74, 2.08),
}
TABLE_3 = {  # MAE, STD, mm
    "3DDFA": (2.32, 0.75),
    "PRNet": (2.35, 0.67),
    "MGCNet": (1.94, 0.67),
    "DECA": (1.93, 0.59),
    "MICA": (2.12, 0.61),
    "RecAugNet": (1.85, 0.56),
}


@dataclass(frozen=True)
class Protocol:
    """
    How meshes are measured.

    Args:
        title: what they are measured on.
        radius: metres around the tip of the nose.
        error: "RMSE" or "MAE", of the distances of a scan's points to the mesh.
        columns: what is told of these errors over all scans.
        paper: those figures in the paper, by method, mm.
        heeded: share of the points that ICP heeds; real scans have hair and spikes.
        note: what the figures cannot be compared with.
    """

    title: str
    radius: float
    error: str
    columns: tuple[str, ...]
    paper: dict[str, tuple[float, ...]]
    heeded: float = 1.0
    note: str = ""


COLUMNS_4, COLUMNS_3 = ("RMSE", "STD", "median", "80 %"), ("MAE", "STD")
PROTOCOLS = {
    "open": Protocol(
        "rendered people not trained on, in FaceWarehouse's expressions", 0.085, "RMSE", COLUMNS_4, TABLE_4,
        note="Truth and results are of one face model, so these figures are lower than the paper's, which are of "
        "FaceWarehouse; what compares are the methods.",
    ),
    "facewarehouse": Protocol("FaceWarehouse", 0.085, "RMSE", COLUMNS_4, TABLE_4),
    "frgc": Protocol("FRGC v2.0", 0.095, "MAE", COLUMNS_3, TABLE_3, heeded=0.9),
}  # fmt: skip


# Methods --------------------------------------------------------------------------------------------------------------


@dataclass
class Method:
    """A pipeline under the name that tables have for it; `augmented` as in `RecAugNetPipeline.__call__`."""

    name: str
    pipeline: RecAugNetPipeline
    augmented: bool = True

    def __call__(self, images: list[np.ndarray], boxes: list[np.ndarray]) -> list[Face]:
        """One face for each picture (H, W, 3) and the box (4,) of its landmarks."""
        outputs = self.pipeline(images, boxes=[[box.tolist()] for box in boxes], augmented=self.augmented)
        return [output.faces[0] for output in outputs]


def open_methods(texts: Sequence[str], weights: str, device: str = "cpu") -> list[Method]:
    """
    The methods to compare.

    Args:
        texts: `NAME=FOLDER`, with `:recnet` at its end to take the expressions of RecNet. FOLDER is a pipeline's or a
            Hub id; or the output of a training, whose networks take the place of those in `weights`. A training of
            RecNet alone is measured with RecNet's own expressions. RecAugNet and RecNet of `weights` when empty.
        weights: folder or Hub id of a pipeline.

    Raises:
        LirecError: a text is not like that, two have one name, or a folder holds no networks.
    """
    load = lru_cache(RecAugNetPipeline.from_pretrained)
    methods = []
    for text in texts or (f"RecAugNet={weights}", f"RecNet={weights}:recnet"):
        name, equals, place = text.partition("=")
        place, colon, flag = place.partition(":")
        if not (name and equals and place) or (colon and flag != "recnet"):
            raise LirecError(f"A method is NAME=FOLDER or NAME=FOLDER:recnet, not {text!r}.")
        if name in (method.name for method in methods):
            raise LirecError(f"Two methods are named {name}.")
        folder, augmented = Path(place), flag != "recnet"
        if folder.is_dir() and not (folder / "model_index.json").is_file():
            networks = {"rec_net": RecNet, "et_net": ETNet}
            there = {part: kind for part, kind in networks.items() if (folder / part).is_dir()}
            found = {part: load_model(kind, folder / part) for part, kind in there.items()}
            if not found:
                raise LirecError(f"{folder} holds no pipeline, and neither rec_net nor et_net of a training.")
            pipeline = RecAugNetPipeline.from_pretrained(weights, **found)
            augmented = augmented and "et_net" in found
        else:
            pipeline = load(place)
        if augmented and pipeline.et_net is None:
            raise LirecError(f"{place} has no et_net: write {name}={place}:recnet.")
        methods.append(Method(name, pipeline.to(device), augmented))
    return methods


# Scans ----------------------------------------------------------------------------------------------------------------


def rendered_scans(model: MorphableModel, people: int, device: str = "cpu") -> Iterator[Scan]:
    """FaceWarehouse's expressions made by rendered people of whom training never sees any; the head turns a little."""
    renderer = SyntheticFaces(model, SIZE, device)
    names = model.expression_names
    expression = torch.zeros(len(POSES), len(names), device=renderer.device)
    for row, pose in enumerate(POSES.values()):
        for name, value in pose.items():
            sides = [name] if name in names else [f"{name}Left", f"{name}Right"]
            expression[row, [names.index(side) for side in sides]] = value
    face = model.select_vertices("skin", "lips", "brows")
    numbers = np.arange(17, 68)
    for person in range(people):
        seed = HELD_OUT_SEED + 300_000 + person
        dice = Dice(len(POSES), torch.Generator(renderer.device).manual_seed(seed))
        spread = expression.new_tensor([0.08, 0.15, 0.06])  # radians
        faces = renderer.sample_clips(
            1, len(POSES), seed, wild=0.0, motion=Motion(expression, dice.normal(0, 1, 3) * spread)
        )
        vertices = model(faces.identity, faces.expression)
        boxes = landmark_box(faces.landmarks).cpu().numpy()
        for row, pose in enumerate(POSES):
            shape = vertices[row].double().cpu().numpy()
            landmarks = shape[model.landmark_vertices[17:].cpu().numpy()]
            points, name = shape[face.cpu().numpy()], f"{person}/{pose}"
            yield Scan(to_array(faces.clean[row]), points, numbers, landmarks, name, boxes[row])


def found_landmarks(method: Method):
    """A function that gives the landmarks (68, 2) px of the largest face in a photo as a method sees it, or None."""

    def find(image: np.ndarray) -> np.ndarray | None:
        faces = method.pipeline(image, augmented=method.augmented).faces
        return faces[0].landmarks if faces else None

    return find


def with_boxes(scans: FaceWarehouseScans | FRGCScans, method: Method) -> Iterator[Scan | None]:
    """The scans of a set, with a box where it must be found; None where no face is."""
    for index in range(len(scans)):
        scan = scans[index]
        if scan is not None and scan.box is None:
            landmarks = found_landmarks(method)(scan.image)
            if landmarks is None:
                scan = None
            else:
                scan.box = np.concatenate((landmarks.min(0), landmarks.max(0)))
        yield scan


# Measuring ------------------------------------------------------------------------------------------------------------


def surface_distances(scan: Scan, vertices: np.ndarray, model: MorphableModel, protocol: Protocol) -> Tensor:
    """
    How far the points of a scan are from a mesh (V, 3) that is laid upon it: (N,) millimetres.

    The mesh is moved to the scan by the similarity of their landmarks, so that millimetres are those of the scan (the
    paper moves the scan to the mesh); then ICP aligns them rigidly. The distance is that to the closest place of the
    surface, which is that to its plane but where a point lies beyond the mesh's rim.
    """
    points = scan.cropped(protocol.radius)
    points = torch.from_numpy(points[:: -(-len(points) // MEASURED)])
    mesh = torch.as_tensor(np.asarray(vertices, np.float64))
    of_mesh = mesh[model.landmark_vertices[scan.numbers.tolist()].cpu()]
    mesh = similarity_align(of_mesh, torch.from_numpy(scan.landmarks)).apply(mesh)
    triangles = _surface(model, protocol.radius)
    fit = icp(points[:: -(-len(points) // FITTED)], mesh, triangles, keep=protocol.heeded, tolerance=5e-5)
    return 1000 * point_to_surface_distance(fit.transform.apply(points), mesh, triangles)


def _surface(model: MorphableModel, radius: float) -> Tensor:
    """(F, 3) the triangles of the face's outside that can be nearest to a point `radius` metres from the nose."""
    tip = model.mean_vertices[model.landmark_vertices[NOSE_TIP]]
    near = ((model.mean_vertices - tip).norm(dim=1) < radius + MARGIN)[model.triangles].all(1)
    return model.triangles[near & model.select_triangles(*SURFACE)].cpu()


def scan_error(distances: Tensor, error: str) -> float:
    """One number for a scan: "RMSE" or "MAE" of its distances (N,)."""
    return float(distances.square().mean().sqrt() if error == "RMSE" else distances.abs().mean())


@torch.no_grad()
def evaluate(scans: Iterator[Scan | None], methods: Sequence[Method], protocol: Protocol, batch: int = 16) -> Report:
    """
    Measure methods on scans.

    Args:
        scans: with boxes; None counts as a face that was not found.
        methods: what to compare.
        protocol: how.
        batch: pictures at a time.

    Raises:
        LirecError: there is no scan with a face.
    """
    errors, corresponding, seconds = defaultdict(list), defaultdict(list), defaultdict(float)
    kinds, missed = [], 0
    model = methods[0].pipeline.morphable_model
    mean = model.mean_vertices.cpu().numpy()
    while group := list(islice(scans, batch)):
        missed += group.count(None)
        group = [scan for scan in group if scan is not None]
        if not group:
            continue
        kinds += [scan.name.partition("/")[2] for scan in group]
        found = {"the mean face": [mean] * len(group)}
        for method in methods:
            start = time.perf_counter()
            faces = method([scan.image for scan in group], [scan.box for scan in group])
            seconds[method.name] += time.perf_counter() - start
            found[method.name] = [face.vertices for face in faces]
        for name, shapes in found.items():
            for scan, vertices in zip(group, shapes, strict=True):
                errors[name].append(scan_error(surface_distances(scan, vertices, model, protocol), protocol.error))
                if protocol is PROTOCOLS["open"]:
                    corresponding[name].append(_corresponding_error(scan, vertices, model))
    if not kinds:
        raise LirecError("No face was found in the photos of these scans.")
    return _report(protocol, methods, errors, corresponding, seconds, kinds, missed)


def _corresponding_error(scan: Scan, vertices: np.ndarray, model: MorphableModel) -> float:
    """RMSE in mm of the same vertices, of a scan that is a mesh of the model."""
    face = model.select_vertices("skin", "lips", "brows").cpu()
    near = torch.from_numpy(np.linalg.norm(scan.points - scan.landmarks[scan.numbers == NOSE_TIP], axis=1) <= 0.085)
    pair = torch.as_tensor(vertices).double()[face][near], torch.from_numpy(scan.points)[near]
    return float(shape_error(*(shape[None] for shape in pair)))


def _columns(errors: list[float], count: int) -> tuple[float, ...]:
    """Mean, standard deviation, median and the value that 80 % stay below; the first `count` of them."""
    values = np.array(errors)
    return (values.mean(), values.std(), np.median(values), np.quantile(values, 0.8))[:count]


def _report(protocol, methods, errors, corresponding, seconds, kinds, missed) -> Report:
    count = len(kinds)
    title = f"{protocol.error} of points on {count} true surfaces within {1000 * protocol.radius:.0f} mm of the nose's "
    title += f"tip, mm: {protocol.title}"
    report = Report(title=title, command="", baseline="the mean face; PAPER is JR2Net's table")
    if protocol.note:
        report.baseline += f". {protocol.note}"
    head, *rest = protocol.columns
    names = [method.name for method in methods]
    trivial = _columns(errors["the mean face"], 1)[0]
    for name in [*names, *(name for name in protocol.paper if name not in names)]:
        ours = _columns(errors[name], len(protocol.columns)) if name in names else (nan,) * len(protocol.columns)
        paper = protocol.paper.get(name, (nan,) * len(protocol.columns))
        others = dict(zip(rest, ours[1:], strict=True))
        others |= {f"{column}, PAPER": value for column, value in zip(protocol.columns, paper, strict=True)}
        report.add(f"{name}, {head}", ours[0], trivial, "", count if name in names else 0, others)
    if corresponding:
        trivial = float(np.mean(corresponding["the mean face"]))
        for name in names:
            values = _columns(corresponding[name], 4)
            others = dict(zip(rest, values[1:], strict=True))
            report.add(f"{name}, {head} of corresponding vertices", values[0], trivial, "", count, others)
    for name in names:
        of_kind = defaultdict(list)
        for kind, value in zip(kinds, errors[name], strict=True):
            of_kind[kind].append(value)
        if set(of_kind) <= set(EXPRESSIONS):
            report.details[f"{head} by expression, {name}"] = {kind: float(np.mean(e)) for kind, e in of_kind.items()}
    report.details["milliseconds a picture"] = {name: 1000 * seconds[name] / count for name in names}
    report.details["photos without a face"] = {"count": float(missed)}
    return report


def main(arguments: list[str] | None = None) -> Report:
    each = f"people to render, {PEOPLE} if not said, or scans to read, all of them if not said"
    parser = command_line.parser(__doc__.splitlines()[0], None, 16, each)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="open")
    parser.add_argument("--root", help="folder of the set of scans")
    parser.add_argument("--method", action="append", default=[], metavar="NAME=FOLDER[:recnet]", help="may be repeated")
    options = command_line.parse(parser, arguments, least=1)
    if (options.protocol == "open") == bool(options.root):
        raise LirecError("Sets of scans need both: --protocol facewarehouse or frgc, and --root with their folder.")
    methods = open_methods(options.method, options.weights, options.device)
    model = methods[0].pipeline.morphable_model
    words = "python -m train.evaluate.meshes"
    if options.protocol == "open":
        scans = rendered_scans(model, options.count or PEOPLE, options.device)
    else:
        words += f" --protocol {options.protocol} --root DIR"
        if options.protocol == "frgc":
            files = FRGCScans(options.root, found_landmarks(methods[0]))
        else:
            files = FaceWarehouseScans(options.root)
        scans = islice(with_boxes(files, methods[0]), options.count)
    if options.count:
        words += f" --count {options.count}"
    words += "".join(f" --method {text.partition('=')[0]}=FOLDER" for text in options.method)
    report = evaluate(scans, methods, PROTOCOLS[options.protocol], options.batch)
    return command_line.hand_out(report, options, words)


if __name__ == "__main__":
    command(main)
