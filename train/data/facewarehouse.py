"""FaceWarehouse: 150 people in 20 expressions, photos with meshes of one topology (Cao et al. 2013)."""

import re
from pathlib import Path

import numpy as np

from lirec.errors import LirecError
from lirec.processing.image import load_image
from train.data.scans import NOSE_TIP, Scan, beside, read_points, to_metres

TABLE = "landmark_vertices.txt"
EXPRESSIONS = (
    "neutral", "mouth stretch", "smile", "brow lower", "brow raise", "anger", "jaw left", "jaw right", "jaw forward",
    "mouth left", "mouth right", "dimpler", "chin raise", "lip puckerer", "lip funneler", "sadness", "lip roll",
    "grin", "cheek blowing", "eye closed",
)  # fmt: skip
"""What a person does in `pose_0` to `pose_19`."""
HOW_TO_GET = (
    "ask Zhejiang University for it, http://kunzhou.net/zjugaps/facewarehouse, and give the folder that holds "
    "Tester_1/TrainingPose/pose_0.obj and the photo pose_0.png beside it, and so on"
)


class FaceWarehouseScans:
    """
    FaceWarehouse's photos and meshes.

    Layout: `Tester_N/TrainingPose/pose_K.obj` with `pose_K.png` (or .jpg, .bmp) beside it. Where the landmarks are on
    its meshes, which all have the same 11,510 vertices, must be said in `landmark_vertices.txt` in the set's folder:
    lines of two numbers, that of an iBUG-68 landmark from 0 to 67 and that of its vertex, both from 0. Four or more
    are needed, the tip of the nose (30) among them.

    Args:
        root: folder of the set.

    Raises:
        LirecError: the set or that table is not there, or the table is not as said above.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        found = []
        for mesh in self.root.glob("Tester_*/TrainingPose/pose_*.obj"):
            person, pose = (re.fullmatch(r"\w+_(\d+)", name) for name in (mesh.parts[-3], mesh.stem))
            photo = beside(mesh, [mesh.stem], (".png", ".jpg", ".bmp"))
            if person and pose and photo and int(pose[1]) < len(EXPRESSIONS):
                found.append((int(person[1]), int(pose[1]), mesh, photo))
        if not found:
            raise LirecError(f"FaceWarehouse is not in {root}: {HOW_TO_GET}.")
        self.files = sorted(found)
        self.numbers, self.vertices = _read_table(self.root / TABLE)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Scan:
        person, pose, mesh, photo = self.files[index]
        points = to_metres(read_points(mesh))
        if self.vertices.max() >= len(points):
            raise LirecError(f"{self.root / TABLE} names vertex {self.vertices.max()}, which {mesh} does not have.")
        return Scan(load_image(photo), points, self.numbers, points[self.vertices], f"{person}/{EXPRESSIONS[pose]}")


def _read_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of landmarks (L,) and of their vertices (L,)."""
    if not path.is_file():
        raise LirecError(
            f"There is no {path}: say there which vertices of FaceWarehouse's meshes are landmarks, in lines of an "
            "iBUG-68 number and a vertex number, both from 0."
        )
    try:
        rows = np.array([line.split() for line in path.read_text().splitlines() if line.strip()], int)
        numbers, vertices = rows.T
        fits = len(np.unique(numbers)) == len(numbers) >= 4 and 0 <= numbers.min() <= numbers.max() < 68
    except ValueError:
        fits = False
    if not fits or NOSE_TIP not in numbers or vertices.min() < 0:
        raise LirecError(
            f"{path} must hold lines of an iBUG-68 number (0-67) and a vertex number, four or more, among them 30."
        )
    return numbers, vertices
