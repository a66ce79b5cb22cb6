"""Pictures whose expressions are known (JR2Net, "Expression-specific image generation").

    python -m train.make_expression_pairs --output pairs --pictures 20000 [--takes FOLDER]
    python -m train.et_net --preset cpu --cache pairs

A source picture and its reconstruction are given to DCNet with another expression; shape, pose and light stay the
source's. The expressions come from takes, generated or recorded. What is written is read by
`train.data.cache.CachedFaces`, and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from lirec.errors import LirecError
from lirec.geometry import intrinsics
from lirec.metrics import landmark_box
from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from lirec.pipelines.portrait import Portrait
from lirec.pipelines.reconstruction import Face, RecAugNetPipeline
from lirec.pipelines.video_reenactment import DCNetPipeline
from lirec.processing.crop import Crop
from lirec.processing.image import to_array, to_tensor
from train.common import command
from train.data import DATASETS, PhotoDataset, training_set
from train.data.cache import FaceBatch, shard_name, write_shard
from train.data.skins import Dice
from train.data.synthetic import BOX_SCALE, HELD_OUT_SEED, Motion, RenderedFaces, SyntheticFaces, random_angles
from train.data.takes import Takes, read_takes

SOURCE_WIDTH = 2.0  # of a rendered source over what is kept of it, so that DCNet sees the whole head
SMALLEST = 40  # px of a face box in a photo that can be a source
MANIFEST = "manifest.json"


class Sources(Protocol):
    """Gives sources by their number, with their pictures in other expressions."""

    def pictures(self, number: int, expressions: np.ndarray) -> tuple[list[Face], int]:
        """One face, with its picture, for each row of `expressions` (N, 51), and the number of the person."""


class RenderedSources:
    """
    People whom the renderer draws; their reconstruction is the truth.

    Args:
        model: the morphable model, where it is to be drawn.
        size: px of the pictures.
        seed: of the first person; the next ones count on, below the seeds kept for evaluation.
        dc_net: draws the other expressions; without it they are rendered as the source is.
    """

    def __init__(self, model: MorphableModel, size: int, seed: int, dc_net=None):
        self.renderer = SyntheticFaces(model, size, model.device)
        self.seed, self.dc_net = seed, dc_net
        self.model = copy.deepcopy(model).to("cpu")  # where faces keep it

    def pictures(self, number: int, expressions: np.ndarray) -> tuple[list[Face], int]:
        shown = expressions if self.dc_net is None else expressions[:1]  # a clip has at least two frames
        rendered = self._draw(number, shown)
        person = int(rendered.identity_number[0])
        if self.dc_net is None:
            return [self._face(rendered, row) for row in range(1, len(rendered))], person
        portrait = Portrait(self._face(rendered, 0), self.dc_net, self.renderer.model, self.renderer.size)
        return driven(portrait, expressions), person

    def _draw(self, number: int, expressions: np.ndarray) -> RenderedFaces:
        """A person with an expression of their own, and with those that are given."""
        seed = (self.seed + number) % HELD_OUT_SEED
        generator = torch.Generator(self.renderer.device).manual_seed(seed + 7_654_321)  # other numbers than theirs
        dice = Dice(1, generator)
        calm = 1 - dice.chance(0.5) * dice.uniform(0.5, 1)
        own = self.renderer.expressions.sample(dice) * calm[:, None]
        given = torch.as_tensor(expressions, dtype=torch.float32, device=own.device)
        motion = Motion(torch.cat((own, given)), random_angles(dice).expand(len(given) + 1, -1))
        return self.renderer.sample_clips(1, len(given) + 1, seed, wild=0.0, motion=motion)

    def _face(self, faces: RenderedFaces, row: int) -> Face:
        """A rendered face as the pipeline would give it, if it were never wrong."""

        def numbers(name):
            return getattr(faces, name)[row].cpu().numpy()

        size, model = faces.clean.shape[3], self.model
        identity, expression = (getattr(faces, name)[row : row + 1].cpu() for name in ("identity", "expression"))
        camera = intrinsics(faces.focal[row : row + 1].cpu() * size, torch.full((2,), size / 2))[0]
        return Face(
            landmarks=numbers("landmarks"),
            vertices=model(identity, expression)[0].numpy(),
            identity=identity[0].numpy(),
            expression=expression[0].numpy(),
            albedo=numbers("albedo_coefficients"),
            angles=numbers("angles"),
            rotation=numbers("rotation"),
            translation=numbers("translation"),
            intrinsics=camera.numpy(),
            light=numbers("light"),
            box=landmark_box(faces.landmarks[row]).cpu().numpy(),
            score=1.0,
            expression_names=model.expression_names,
            image=to_array(faces.clean[row]),
            model=model,
        )


class PhotoSources:
    """
    Photos, as RecAugNet reconstructs them; those without a face large enough are passed over.

    Args:
        photos: a set of photos.
        pipeline: reconstructs them, and draws their other expressions.
        seed: of their order.
    """

    def __init__(self, photos: PhotoDataset, pipeline: DCNetPipeline, seed: int):
        self.photos, self.pipeline = photos, pipeline
        self.order = np.random.default_rng(seed).permutation(len(photos))
        self.faceless: set[int] = set()

    def pictures(self, number: int, expressions: np.ndarray) -> tuple[list[Face], int]:
        for step in range(len(self.order)):
            index = int(self.order[(number + step) % len(self.order)])
            face = None if index in self.faceless else self._face(index)
            if face is not None:
                model = self.pipeline.reconstruction.morphable_model
                return driven(Portrait(face, self.pipeline.dc_net, model), expressions), index
            self.faceless.add(index)
        raise LirecError(f"None of the {len(self.order)} photos shows a face that is {SMALLEST} px large.")

    def _face(self, index: int) -> Face | None:
        photo = self.photos[index]
        reconstruction: RecAugNetPipeline = self.pipeline.reconstruction
        faces = reconstruction(photo.image, boxes=None if photo.box is None else [photo.box]).faces
        large = [face for face in faces if (face.box[2:] - face.box[:2]).max() >= SMALLEST]
        return large[0] if large else None


def driven(portrait: Portrait, expressions: np.ndarray) -> list[Face]:
    """The portrait's face in other expressions (N, 51), each in its own drawing of the window round the head."""
    motions = [replace(portrait.motion, expression=row) for row in expressions.astype(np.float32)]
    return [
        portrait.moved(motion, drawing).within(portrait.crop, portrait.size, drawing)
        for motion, drawing in zip(motions, portrait.draw(motions), strict=True)
    ]


def cut_out(faces: list[Face], person: int, size: int) -> FaceBatch:
    """What training reads of faces of one person: `size` px round the place at which the camera looks, which holds the
    landmarks and as much around them as rendered training pictures do."""
    crops = []
    for face in faces:
        middle = face.intrinsics[:2, 2]
        edges = face.box.reshape(2, 2)
        off = np.abs(edges.mean(0) - middle).max()
        crops.append(Crop(tuple(middle.tolist()), float(BOX_SCALE * np.ptp(edges, axis=0).max() + 2 * off)))

    def stack(rows):
        return torch.as_tensor(np.stack(list(rows)), dtype=torch.float32)

    pairs = list(zip(faces, crops, strict=True))
    names = {"albedo_coefficients": "albedo"}
    names |= {name: name for name in ("identity", "expression", "angles", "translation", "light")}
    return FaceBatch(
        image=to_tensor(np.stack([crop.extract(face.image, size) for face, crop in pairs])),
        focal=stack(face.intrinsics[0, 0] / crop.side for face, crop in pairs),
        landmarks=stack(crop.to_crop(face.landmarks, size) for face, crop in pairs),
        identity_number=torch.full((len(faces),), person),
        **{key: stack(getattr(face, name) for face in faces) for key, name in names.items()},
    )


# The folder -----------------------------------------------------------------------------------------------------------


class Manifest:
    """
    What a folder of pairs was made with, and which of its shards are done.

    Args:
        folder: made if it is not there.
        settings: what the pictures depend on.
        names: of the expression coefficients.

    Raises:
        LirecError: the folder holds pictures that were made with other settings.
    """

    def __init__(self, folder: Path, settings: dict, names: Sequence[str]):
        self.path = folder / MANIFEST
        settings = json.loads(json.dumps(settings))  # as they are read back
        self.content = {"settings": settings, "expression_names": list(names), "shards": {}}
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            before = json.loads(self.path.read_text(encoding="utf-8"))
            if before["settings"] != self.content["settings"]:
                changed = [k for k, v in self.content["settings"].items() if before["settings"].get(k) != v]
                raise LirecError(
                    f"{folder} holds pairs that were made with another {', '.join(changed) or 'set of settings'}: "
                    "choose another --output."
                )
            self.content["shards"] = before["shards"]
        elif any(folder.glob("truth_*.npz")):
            raise LirecError(f"{folder} holds pictures that are no expression pairs: choose another --output.")
        self._write()

    def add(self, shard: str, pictures: int, seconds: float) -> None:
        """A shard is whole."""
        self.content["shards"][shard] = {"pictures": pictures, "seconds": round(seconds, 1)}
        self._write()

    def __contains__(self, shard: str) -> bool:
        return shard in self.content["shards"]

    def _write(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path)


def make_pairs(
    sources: Sources, takes: Takes, manifest: Manifest, folder: Path, pictures: int, shard_size: int, per_source: int,
    size: int, seed: int,
) -> None:  # fmt: skip
    """Fill `folder` with shards of `shard_size` pictures, a multiple of `per_source`, until it holds `pictures`."""
    for shard in range(-(-pictures // shard_size)):
        name = shard_name(seed, shard)
        if name in manifest:
            continue
        first, start = shard * (shard_size // per_source), time.perf_counter()

        def batches(first=first) -> Iterator[FaceBatch]:
            for number in range(first, first + shard_size // per_source):
                expressions = takes.draw(per_source, np.random.default_rng([seed, number]))
                yield cut_out(*sources.pictures(number, expressions), size)

        write_shard(folder, name, batches(), shard_size, size)
        seconds = time.perf_counter() - start
        manifest.add(name, shard_size, seconds)
        print(f"shard {shard}: {shard_size / seconds:.1f} pictures a second", flush=True)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of the shards and their manifest")
    add("--pictures", type=int, default=20_000)
    add("--shard_size", type=int, default=1024)
    add("--size", type=int, default=160, help="px")
    add("--per_source", type=int, default=8, help="expressions that each source picture is given")
    add("--data", default="synthetic", choices=["synthetic", *DATASETS], help="where sources come from")
    add("--root", help="folder of the photos")
    add("--renderer", default="dcnet", choices=["dcnet", "mesh"], help="mesh: without DCNet, for comparison")
    add("--takes", help="folder of Live Link Face recordings")
    add("--takes_share", type=float, default=0.5, help="share of the sources that recorded takes move")
    add("--weights", default="hub/dc-net", help="folder or Hub id of a DCNetPipeline")
    add("--morphable_model", default="hub/rec-aug-net/morphable_model", help="of --renderer mesh")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def check(options: argparse.Namespace) -> None:
    """
    Raises:
        LirecError: an option is out of range, or two do not fit.
    """
    for name in ("pictures", "shard_size", "per_source"):
        if getattr(options, name) < 1:
            raise LirecError(f"--{name} must be 1 or more.")
    if options.size < 32:
        raise LirecError("--size must be 32 or more.")
    if not 0 <= options.takes_share <= 1:
        raise LirecError("--takes_share lies between 0 and 1.")
    if (options.data == "synthetic") == bool(options.root):
        raise LirecError("Photos need both: --data with the name of a set and --root with its folder.")
    if options.data != "synthetic" and options.renderer == "mesh":
        raise LirecError("Only rendered people can be rendered in other expressions: photos need --renderer dcnet.")


@torch.no_grad()
def main(arguments: list[str] | None = None) -> None:
    options = build_parser().parse_args(arguments)
    check(options)
    options.shard_size = max(options.shard_size // options.per_source, 1) * options.per_source
    pipeline = None
    if options.renderer == "dcnet":
        pipeline = DCNetPipeline.from_pretrained(options.weights).to(options.device)
        model = pipeline.reconstruction.morphable_model
    else:
        model = load_model(MorphableModel, options.morphable_model).to(options.device)
    recorded = read_takes(options.takes, model.expression_names) if options.takes else {}
    named = ("data", "root", "renderer", "shard_size", "size", "per_source", "takes_share", "seed")
    settings = {name: getattr(options, name) for name in named}
    settings["weights"] = options.weights if pipeline else options.morphable_model
    settings["takes"] = {name: len(take) for name, take in recorded.items()}
    manifest = Manifest(options.output, settings, model.expression_names)
    if options.data == "synthetic":
        width = round(SOURCE_WIDTH / BOX_SCALE * options.size)
        sources = RenderedSources(model, width, options.seed * 1_000_003, pipeline.dc_net if pipeline else None)
    else:
        sources = PhotoSources(training_set(options.data, options.root), pipeline, options.seed)
    takes = Takes(model.expression_names, recorded, options.takes_share)
    make_pairs(
        sources, takes, manifest, options.output, options.pictures, options.shard_size, options.per_source,
        options.size, options.seed,
    )  # fmt: skip


if __name__ == "__main__":
    command(main)
