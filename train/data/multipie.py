"""CMU Multi-PIE: 750,000 photos, 337 people in up to 4 sessions under 15 cameras and 19 flashes (Gross et al. 2010)."""

import re
from collections.abc import Sequence
from pathlib import Path

from lirec.errors import LirecError
from train.data.views import View, ViewDataset

NAME = re.compile(r"(\d{3})_(\d{2})_(\d{2})_(\d{3})_(\d{2})\.(?:png|jpg)", re.IGNORECASE)
YAWS = {
    "110": 90, "120": 75, "090": 60, "080": 45, "130": 30, "140": 15, "051": 0, "050": -15, "041": -30, "190": -45,
    "200": -60, "010": -75, "240": -90, "081": 44, "191": -44,
}  # fmt: skip
"""Degrees by camera; the last two hang from the ceiling, and so count as sides of their own."""
ILLUMINATIONS = (0, 7)
"""No flash, and the flash beside the middle camera: two illuminations, as in LI-Net's paper."""
HOW_TO_GET = (
    "order the set from Carnegie Mellon University, http://www.multipie.org, and give the folder that holds "
    "session01/multiview/001/01/05_1/001_01_01_051_07.png and so on"
)


class MultiPIEDataset(ViewDataset):
    """
    Multi-PIE's views.

    Layout: `[data/]sessionSS/multiview/PERSON/RECORDING/CAMERA/PERSON_SS_RECORDING_CAMERA_FLASH.png`. Expressions are
    told by the recording. Views of one session and flash belong together. It has no landmarks and no boxes.

    Args:
        root: the folder of the sessions, or one above.
        split: "train" or "test", which share no person; both when None.
        illuminations: numbers of the flashes to take.

    Raises:
        LirecError: the set is not there.
    """

    def __init__(self, root: str | Path, split: str | None = None, illuminations: Sequence[int] = ILLUMINATIONS):
        views = []
        for file in sorted(Path(root).rglob("*")):
            match = NAME.fullmatch(file.name)
            if match and match[4] in YAWS and int(match[5]) in illuminations:
                person, session, recording, camera, flash = match.groups()
                views.append(View(file, person, YAWS[camera], recording, f"session {session}, flash {flash}"))
        if not views:
            raise LirecError(f"Multi-PIE is not in {root}: {HOW_TO_GET}.")
        super().__init__(views, split)
