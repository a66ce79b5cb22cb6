"""Rendered faces on disk, for training where rendering is slower than the network (two CPU cores).

`python -m train.data.cache --output FOLDER --pictures 100000` draws shards of pictures and truth; it goes on where it
stopped, and a training may read the folder while it still grows.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch

from lirec.errors import LirecError
from lirec.models.morphable_model import MorphableModel
from train.data.synthetic import HELD_OUT_SEED, RenderedFaces, SyntheticFaces

TRUTH = (
    "identity", "expression", "albedo_coefficients", "angles", "translation", "focal", "light", "landmarks",
    "identity_number",
)  # fmt: skip


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


class RenderedBatches:
    """
    Endless batches drawn where the training runs; for GPUs.

    Args:
        renderer: what draws them.
        batch_size: pictures a batch.
        seed: of the first batch; the next ones count on, below the seeds kept for evaluation.
        people: so many neighbours show one person.
    """

    def __init__(self, renderer: SyntheticFaces, batch_size: int, seed: int, people: int = 1):
        self.renderer, self.batch_size, self.seed, self.people = renderer, batch_size, seed, people

    def __iter__(self) -> Iterator[FaceBatch]:
        for number in count(self.seed):
            faces = self.renderer.sample(
                self.batch_size, number % HELD_OUT_SEED, pictures_per_identity=self.people, degraded=False
            )
            yield to_batch(faces)


def write_shards(
    renderer: SyntheticFaces,
    folder: Path,
    pictures: int,
    shard_size: int,
    seed: int,
    batch: int,
    per_identity: int,
) -> None:
    """Draw until `folder` holds `pictures`; a shard appears under its name only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(-(-pictures // shard_size)):
        target = folder / f"truth_{seed:03d}_{shard:05d}.npz"
        if target.exists():
            continue
        images = np.lib.format.open_memmap(
            folder / f"pictures_{seed:03d}_{shard:05d}.npy",
            "w+",
            np.uint8,
            (shard_size, renderer.size, renderer.size, 3),
        )
        truth, start = {name: [] for name in TRUTH}, time.perf_counter()
        for first in range(0, shard_size, batch):
            faces = renderer.sample(
                min(batch, shard_size - first), ((seed * 100_000 + shard) * 4096 + first) % HELD_OUT_SEED,
                pictures_per_identity=per_identity, degraded=False,
            )  # fmt: skip
            images[first : first + batch] = (
                (faces.clean.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()
            )
            for name in TRUTH:
                truth[name].append(getattr(faces, name).cpu().numpy())
        images.flush()
        partial = target.with_suffix(".partial.npz")
        np.savez(partial, **{name: np.concatenate(values) for name, values in truth.items()})
        partial.rename(target)
        print(
            f"shard {shard}: {shard_size / (time.perf_counter() - start):.1f} pictures a second", flush=True
        )


class CachedFaces:
    """
    Random batches out of a folder that `write_shards` fills; new shards are noticed every minute.

    Args:
        folder: where the shards are.
        batch_size: pictures a batch.
        seed: of the order.
        people: batches hold `people` pictures of each person where the cache has several (neighbours).
    """

    def __init__(self, folder: str | Path, batch_size: int, seed: int = 0, people: int = 1):
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
                self.shards[truth.name] = (pictures, {name: values[name] for name in TRUTH})

    def __iter__(self) -> Iterator[FaceBatch]:
        while True:
            self._refresh()
            names = sorted(self.shards)
            parts = []
            groups = min(8, self.batch_size // self.people)
            for share in np.array_split(np.arange(self.batch_size // self.people), groups):
                pictures, truth = self.shards[names[self.rng.integers(len(names))]]
                first = self.rng.integers(0, len(pictures) // self.people, len(share)) * self.people
                rows = (first[:, None] + np.arange(self.people)).ravel()
                parts.append((pictures[rows], {name: values[rows] for name, values in truth.items()}))
            image = torch.from_numpy(np.concatenate([p for p, _ in parts])).permute(0, 3, 1, 2).contiguous()
            yield FaceBatch(
                image=image.float().mul_(1 / 255),
                **{name: torch.from_numpy(np.concatenate([t[name] for _, t in parts])) for name in TRUTH},
            )


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Draw rendered faces into a folder of memory-mapped shards.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="hub/rec-aug-net/morphable_model")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--shard_size", type=int, default=4096)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=8, help="8 is fastest on a CPU core, hundreds on a GPU")
    parser.add_argument("--per_identity", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    model = MorphableModel.from_pretrained(options.model)
    renderer = SyntheticFaces(model, options.size, options.device, supersampling=1.2)
    write_shards(
        renderer,
        options.output,
        options.pictures,
        options.shard_size,
        options.seed,
        options.batch,
        options.per_identity,
    )


if __name__ == "__main__":
    main()
