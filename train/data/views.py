"""Sets of photos of people in known expressions, seen from known sides: what LI-Net's paper trains on."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lirec.errors import LirecError
from lirec.geometry.landmarks import PARTS
from lirec.pipelines.portrait import head_window
from lirec.pipelines.reconstruction import Face, RecAugNetPipeline
from lirec.processing.image import load_image, to_tensor
from train.data.photos import PhotoDataset
from train.data.rotations import KEPT, FaceTriples

TEST_SHARE = 12 / 67  # of the people; the paper's split of RaFD
TRIES = 50  # triples in a row without faces after which something is wrong


@dataclass(frozen=True)
class View:
    """A photo: who, from which side (degrees, 0 for the front), doing what, and in which series of photos that were
    taken alike."""

    file: Path
    person: str
    yaw: int
    expression: str
    series: str = ""


class ViewDataset(PhotoDataset):
    """
    Photos that are known as views.

    Args:
        views: of the whole set.
        split: "train" or "test", which share no person; all when None.

    Attributes:
        views: those of the split, in a fixed order; `files` are theirs.
        people: the split's, sorted.
    """

    def __init__(self, views: Sequence[View], split: str | None = None):
        if split not in (None, "train", "test"):
            raise LirecError(f"There are the splits train and test, not {split!r}.")
        people = sorted({view.person for view in views})
        order = np.random.default_rng(0).permutation(len(people))
        count = max(round(TEST_SHARE * len(people)), 1)
        tested = {people[i] for i in order[:count]}
        chosen = {None: set(people), "test": tested, "train": set(people) - tested}[split]
        self.people = sorted(chosen)
        self.views = [view for view in views if view.person in chosen]
        self.files = [view.file for view in self.views]
        self._of_file = {view.file: view for view in self.views}

    def identity(self, file: Path) -> str:
        return self._of_file[file].person

    def triples(self, rng: np.random.Generator) -> Iterator[tuple[View, View, View, View]]:
        """
        Endless views of one person each: expression 1 from side 1; the same from side 2; expression 2 from side 2; and
        any other expression from side 2.

        Raises:
            LirecError: nobody is seen in two expressions from two sides.
        """
        groups = defaultdict(lambda: defaultdict(dict))
        for view in self.views:
            groups[view.person, view.series][view.yaw][view.expression] = view
        groups = {key: sides for key, sides in groups.items() if len(sides) > 1}
        choices = [
            (sides, first, second, shared)
            for sides in groups.values()
            for first in sides
            for second in sides
            if first != second and len(sides[second]) > 1 and (shared := sorted(set(sides[first]) & set(sides[second])))
        ]
        if not choices:
            raise LirecError("These photos show nobody in two expressions from two sides: is the set complete?")
        while True:
            sides, first, second, shared = choices[rng.integers(len(choices))]
            kept = shared[rng.integers(len(shared))]
            others = sorted(set(sides[second]) - {kept})
            changed, any_other = (others[rng.integers(len(others))] for _ in range(2))
            target = sides[second]
            yield sides[first][kept], target[kept], target[changed], target[any_other]


def photo_triples(
    dataset: ViewDataset,
    reconstruction: RecAugNetPipeline,
    size: int,
    scale: float,
    rise: float,
    batch_size: int,
    seed: int,
) -> Iterator[FaceTriples]:
    """
    Endless batches, on the reconstruction's device, which finds the landmarks; photos without a face are passed over.

    Args:
        size: S; scale, rise: as R's `crop_scale` and `crop_rise`.
    """  # fmt: skip
    rng, found, missed = np.random.default_rng(seed), [], 0
    for views in dataset.triples(rng):
        faces = [output.faces for output in reconstruction([load_image(view.file) for view in views])]
        if not all(faces):
            missed += 1
            if missed > TRIES:
                raise LirecError("No faces are found in these photos: is this the right set?")
            continue
        missed = 0
        found.append([group[0] for group in faces])
        if len(found) == batch_size:
            yield _collate(found, size, scale, rise, rng, reconstruction.device)
            found = []


def _collate(found: list[list[Face]], size: int, scale: float, rise: float, rng, device) -> FaceTriples:
    pictures, points = [[], [], []], [[], [], [], []]
    for faces in found:
        for place, face in enumerate(faces):
            crop = head_window(face.landmarks, scale, rise)  # cameras differ, so each photo has a window of its own
            points[place].append(crop.to_crop(face.landmarks, 1))
            if place < 3:
                pictures[place].append(crop.extract(face.image, size))

    def numbers(values):
        return torch.as_tensor(np.stack(values), dtype=torch.float32, device=device)

    source, rotated, result = (to_tensor(np.stack(stack), device) for stack in pictures)
    return FaceTriples(
        source=source,
        rotated=rotated,
        result=result,
        source_landmarks=numbers(points[0]),
        result_landmarks=numbers(points[2]),
        pose_landmarks=numbers(points[3]),
        shown=numbers(rng.uniform(size=(len(found), len(PARTS))) < KEPT),
        angles=numbers([faces[1].angles for faces in found]),
    )
