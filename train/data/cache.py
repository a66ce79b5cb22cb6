"""Rendered faces on disk, for training where rendering is slower than the network (two CPU cores).

`python -m train.data.cache --output FOLDER --pictures 100000` draws shards of pictures and truth; it goes on where it
stopped, and a training may read the folder while it still grows.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch

from lirec.errors import LirecError
from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from train.common import command
from train.data.clips import rotation_clips
from train.data.synthetic import HELD_OUT_SEED, RenderedFaces, SyntheticFaces

TRUTH = (
    "identity", "expression", "albedo_coefficients", "angles", "translation", "focal", "light", "landmarks",
    "identity_number",
)  # fmt: skip
LARGEST_SHARD = 4096
"""Pictures; the seeds of a shard's batches count on from its own, and those of shards are so far apart."""


@dataclass
class FaceBatch:
    """
    What RecNet trains on: `image (B, 3, S, S)` sRGB in [0, 1], undegraded, and the truth as in `RenderedFaces`.
    """

    image: torch.Tensor
    identity: torch.Tensor
    expression: torch.Tensor
    albedo_coefficients: torch.Tensor
    angles: torch.Tensor
    translation: torch.Tensor
    focal: torch.Tensor
    light: torch.Tensor
    landmarks: torch.Tensor
    identity_number: torch.Tensor

    def __len__(self):
        return len(self.image)

    def to(self, device, **how) -> "FaceBatch":
        return FaceBatch(**{name: value.to(device, **how) for name, value in vars(self).items()})

    @classmethod
    def cat(cls, batches: list["FaceBatch"]) -> "FaceBatch":
        return cls(**{name: torch.cat([getattr(b, name) for b in batches]) for name in vars(batches[0])})


def to_batch(faces: RenderedFaces) -> FaceBatch:
    return FaceBatch(image=faces.clean, **{name: getattr(faces, name) for name in TRUTH})


def add_source_options(parser: argparse.ArgumentParser, how: str = "") -> None:
    """The options that say where a training's rendered faces come from; `how` they are drawn into a cache."""
    add = parser.add_argument
    add("--cache", help=f"folder of `train.data.cache{how}`; without it faces are drawn while training")
    add("--reuse", type=int, default=1, help="how often faces that are drawn while training are seen, on the average")


class RenderedBatches:
    """
    Endless batches drawn where the training runs; for GPUs.

    Args:
        renderer: what draws them.
        batch_size: pictures a batch.
        seed: of the first batch; the next ones count on, below the seeds kept for evaluation.
        people: so many neighbours show one person.
        clips: as of `draw`.
        reuse: batches that are made for each one that is drawn, where that takes longer than a step of the training:
            out of the last `KEPT` that were drawn.

    Raises:
        LirecError: `reuse` is less than 1.
    """

    KEPT = 64

    def __init__(
        self,
        renderer: SyntheticFaces,
        batch_size: int,
        seed: int,
        people: int = 1,
        clips: bool | str = False,
        reuse: int = 1,
    ):
        if reuse < 1:
            raise LirecError("--reuse must be 1 or more.")
        self.renderer, self.batch_size, self.seed = renderer, batch_size, seed
        self.people, self.clips, self.reuse = people, clips, reuse

    def __iter__(self) -> Iterator[FaceBatch]:
        rng, kept = np.random.default_rng(self.seed), []
        for number in count(self.seed):
            drawn = to_batch(draw(self.renderer, self.batch_size, number % HELD_OUT_SEED, self.people, self.clips))
            if self.reuse == 1:
                yield drawn
                continue
            drawn.image = (drawn.image * 255).round().byte()
            kept = [*kept[1 - self.KEPT :], drawn]
            for _ in range(self.reuse):
                yield self._mixed(rng, kept)

    def _mixed(self, rng: np.random.Generator, kept: list[FaceBatch]) -> FaceBatch:
        parts = []
        for groups in group_shares(self.batch_size, self.people):
            batch = kept[rng.integers(len(kept))]
            rows = torch.from_numpy(random_rows(rng, len(batch), self.people, groups)).to(batch.image.device)
            parts.append(FaceBatch(**{name: value[rows] for name, value in vars(batch).items()}))
        batch = FaceBatch.cat(parts)
        batch.image = batch.image.float().mul_(1 / 255)
        return batch


def group_shares(batch_size: int, people: int, parts: int = 8) -> list[int]:
    """How many groups of neighbours a batch takes from each of some places."""
    groups = batch_size // people
    return [len(share) for share in np.array_split(np.arange(groups), min(parts, groups))]


def random_rows(rng: np.random.Generator, pictures: int, people: int, groups: int) -> np.ndarray:
    """Rows of `groups` groups of `people` neighbours among `pictures`."""
    first = rng.integers(0, pictures // people, groups) * people
    return (first[:, None] + np.arange(people)).ravel()


def draw(
    renderer: SyntheticFaces, pictures: int, seed: int, per_identity: int, clips: bool | str
) -> RenderedFaces:
    """Undegraded faces, `per_identity` neighbours of each person; with `clips` they are frames of one scene, and with
    "rotation" the three frames of `rotation_clips`."""
    if clips == "rotation":
        return rotation_clips(renderer, pictures // 3, seed)
    if clips:
        return renderer.sample_clips(pictures // per_identity, per_identity, seed)
    return renderer.sample(pictures, seed, pictures_per_identity=per_identity, degraded=False)


def write_shards(
    renderer: SyntheticFaces,
    folder: Path,
    pictures: int,
    shard_size: int,
    seed: int,
    batch: int,
    per_identity: int,
    clips: bool | str = False,
) -> None:
    """Draw until `folder` holds `pictures`; a shard appears under its name only when it is whole.

    Batches and shards hold whole groups of `per_identity` neighbours; of `clips` see `draw`.

    Raises:
        LirecError: shards would be so large that their pictures repeat.
    """
    if shard_size > LARGEST_SHARD:
        raise LirecError(f"A shard holds {LARGEST_SHARD} pictures at most: give a smaller --shard_size.")
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(-(-pictures // shard_size)):
        name = shard_name(seed, shard)
        if (folder / f"truth_{name}.npz").exists():
            continue

        def batches(shard=shard) -> Iterator[FaceBatch]:
            for first in range(0, shard_size, batch):
                batch_seed = ((seed * 100_000 + shard) * LARGEST_SHARD + first) % HELD_OUT_SEED
                yield to_batch(draw(renderer, min(batch, shard_size - first), batch_seed, per_identity, clips))

        start = time.perf_counter()
        write_shard(folder, name, batches(), shard_size, renderer.size)
        print(
            f"shard {shard}: {shard_size / (time.perf_counter() - start):.1f} pictures a second", flush=True
        )


def shard_name(seed: int, shard: int) -> str:
    """What the two files of a shard have in their names."""
    return f"{seed:03d}_{shard:05d}"


def write_shard(folder: Path, name: str, batches: Iterable[FaceBatch], count: int, size: int) -> None:
    """Write batches of `count` pictures of `size` px in all; the truth has its name only when all is written."""
    images = np.lib.format.open_memmap(folder / f"pictures_{name}.npy", "w+", np.uint8, (count, size, size, 3))
    truth, first = {field: [] for field in TRUTH}, 0
    for batch in batches:
        pixels = (batch.image.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()
        images[first : first + len(batch)] = pixels
        first += len(batch)
        for field in TRUTH:
            truth[field].append(getattr(batch, field).cpu().numpy())
    images.flush()
    target = folder / f"truth_{name}.npz"
    partial = target.with_suffix(".partial.npz")
    np.savez(partial, **{field: np.concatenate(values) for field, values in truth.items()})
    partial.rename(target)


class CachedFaces:
    """
    Random batches out of a folder that `write_shards` fills; new shards are noticed every minute.

    Args:
        folder: where the shards are.
        batch_size: pictures a batch.
        seed: of the order.
        people: batches hold `people` pictures of each person, which are neighbours in the cache.

    Raises:
        LirecError: the folder is empty, its neighbours show different people, or a batch is too small for one person.
    """

    def __init__(self, folder: str | Path, batch_size: int, seed: int = 0, people: int = 1):
        if batch_size < people:
            raise LirecError(f"A batch of {batch_size} cannot hold {people} pictures of a person: make it larger.")
        self.folder, self.batch_size, self.people = Path(folder), batch_size, people
        self.rng = np.random.default_rng(seed)
        self.shards: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
        self._looked = float("-inf")
        self._refresh()
        if not self.shards:
            raise LirecError(
                f"{folder} holds no rendered faces: draw some with `python -m train.data.cache --output {folder}`."
            )

    def _refresh(self):
        if time.monotonic() - self._looked < 60:
            return
        self._looked = time.monotonic()
        for truth in sorted(self.folder.glob("truth_*.npz")):
            if truth.name in self.shards or ".partial" in truth.name:
                continue
            pictures = np.load(
                self.folder / truth.name.replace("truth_", "pictures_").replace(".npz", ".npy"), mmap_mode="r"
            )
            with np.load(truth) as values:
                values = {name: values[name] for name in TRUTH}
            groups = values["identity_number"][: len(pictures) // self.people * self.people].reshape(-1, self.people)
            if not len(groups) or (groups != groups[:, :1]).any():
                raise LirecError(
                    f"{self.folder} does not hold {self.people} pictures of each person in a row: draw such a one with "
                    "--per_identity or --clips of `python -m train.data.cache`."
                )
            self.shards[truth.name] = (pictures, values)

    def __iter__(self) -> Iterator[FaceBatch]:
        while True:
            self._refresh()
            names = sorted(self.shards)
            parts = []
            for groups in group_shares(self.batch_size, self.people):
                pictures, truth = self.shards[names[self.rng.integers(len(names))]]
                rows = random_rows(self.rng, len(pictures), self.people, groups)
                parts.append((pictures[rows], {name: values[rows] for name, values in truth.items()}))
            image = torch.from_numpy(np.concatenate([p for p, _ in parts])).permute(0, 3, 1, 2).contiguous()
            yield FaceBatch(
                image=image.float().mul_(1 / 255),
                **{name: torch.from_numpy(np.concatenate([t[name] for _, t in parts])) for name in TRUTH},
            )


def training_faces(
    options: argparse.Namespace,
    renderer: Callable[[], SyntheticFaces],
    batch_size: int,
    seed: int,
    people: int = 1,
    clips: bool | str = False,
) -> CachedFaces | RenderedBatches:
    """
    Endless batches of rendered faces, from where the options of `add_source_options` say.

    Args:
        renderer: makes what draws them, if there is no cache.
        batch_size, seed, people, clips: as of `RenderedBatches`.
    """
    if options.cache:
        return CachedFaces(options.cache, batch_size, seed, people)
    return RenderedBatches(renderer(), batch_size, seed, people, clips, options.reuse)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Draw rendered faces into a folder of memory-mapped shards.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="hub/rec-aug-net/morphable_model")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--shard_size", type=int, default=4096)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=8, help="8 is fastest on a CPU core, hundreds on a GPU")
    parser.add_argument("--per_identity", type=int, default=2)
    parser.add_argument(
        "--clips",
        nargs="?",
        const="free",
        choices=["free", "rotation"],
        help="a person's pictures are frames of one scene; rotation: three of each, for LI-Net",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    model = load_model(MorphableModel, options.model)
    renderer = SyntheticFaces(model, options.size, options.device, supersampling=1.2)
    if options.clips == "rotation":
        options.per_identity = 3
    for name in ("batch", "shard_size"):
        whole = max(getattr(options, name) // options.per_identity, 1) * options.per_identity
        setattr(options, name, whole)
    write_shards(
        renderer,
        options.output,
        options.pictures,
        options.shard_size,
        options.seed,
        options.batch,
        options.per_identity,
        options.clips or False,
    )


if __name__ == "__main__":
    command(main)
