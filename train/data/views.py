"""Sets of photos of people in known expressions, seen from known sides: what LI-Net's paper trains on."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lirec.errors import LirecError
from train.data.photos import PhotoDataset

TEST_SHARE = 12 / 67  # of the people; the paper's split of RaFD


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
