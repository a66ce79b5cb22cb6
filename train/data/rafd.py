"""RaFD, the Radboud Faces Database: 8,040 photos, 67 people in 8 expressions from 5 sides (Langner et al. 2010)."""

import re
from pathlib import Path

from lirec.errors import LirecError
from train.data.views import View, ViewDataset

NAME = re.compile(r"Rafd(\d{3})_(\d+)_([A-Za-z]+)_(male|female)_([a-z]+)_(left|frontal|right)\.jpg", re.IGNORECASE)
HOW_TO_GET = (
    "apply for a login at https://rafd.socsci.ru.nl, for which everybody who works with the set signs, and give the "
    "folder that holds its pictures, as Rafd090_01_Caucasian_female_angry_frontal.jpg"
)


class RaFDDataset(ViewDataset):
    """
    RaFD. Its file names tell all: `RafdANGLE_PERSON_GROUP_GENDER_EXPRESSION_GAZE.jpg`, with the camera's angle 000,
    045, 090 (in front), 135 or 180. An expression with another gaze counts as another. There are no landmarks and no
    boxes.

    Args:
        root: folder of the pictures, or one above.
        split: "train" (55 people) or "test" (12); both when None.

    Raises:
        LirecError: the set is not there.
    """

    def __init__(self, root: str | Path, split: str | None = None):
        views = []
        for file in sorted(Path(root).rglob("*.jpg")):
            if match := NAME.fullmatch(file.name):
                angle, person, _, _, expression, gaze = match.groups()
                views.append(View(file, person, int(angle) - 90, f"{expression.lower()} {gaze.lower()}"))
        if not views:
            raise LirecError(f"RaFD is not in {root}: {HOW_TO_GET}.")
        super().__init__(views, split)
