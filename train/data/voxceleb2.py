"""VoxCeleb2: a million clips of 6,112 people talking, 224x224 (Chung, Nagrani and Zisserman 2018)."""

from pathlib import Path

import av
import numpy as np

from lirec.errors import LirecError
from lirec.processing.image import load_image
from train.data.photos import PICTURE_SUFFIXES, FacePhoto, PhotoDataset

HOW_TO_GET = (
    "ask for the videos at https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html, unpack them, and give "
    "the folder that holds dev/mp4/id*/*/*.mp4 and test/mp4/id*/*/*.mp4"
)


class VoxCeleb2Dataset(PhotoDataset):
    """Frames of VoxCeleb2's clips.

    Layout: `[dev/|test/][mp4/]PERSON/VIDEO/CLIP.mp4`, or with frames extracted, `PERSON/VIDEO/CLIP/*.jpg`.
    It has no landmarks and no boxes; faces fill most of the frame. The identity is PERSON (`id00012`).

    Args:
        root: folder of the set.
        split: "dev" or "test", which share no person; both when None.
        frames_per_clip: how many frames to take from each clip, evenly spaced.

    Attributes:
        clips: paths of the clips, files or folders of frames. Item n is of clip `n // frames_per_clip`.
    """

    def __init__(self, root: str | Path, split: str | None = None, frames_per_clip: int = 1):
        self.root = Path(root)
        if split not in (None, "dev", "test"):
            raise LirecError(f"VoxCeleb2 has the splits dev and test, not {split!r}.")
        if frames_per_clip < 1:
            raise LirecError(f"frames_per_clip is {frames_per_clip}, but must be 1 or more.")
        parts = [split] if split else ["dev", "test", ""]
        # mp4 first: other folders of the same layout (sound, text) may lie beside it.
        people = []
        for part in parts:
            for folder in (self.root / part / "mp4", self.root / part):
                found = sorted(path for path in folder.glob("id*") if path.is_dir())
                if found:
                    people += found
                    break
        self.clips = [clip for person in people for clip in sorted(person.glob("*/*")) if _is_clip(clip)]
        if not self.clips:
            raise LirecError(f"VoxCeleb2 is not in {self.root / (split or '')}: {HOW_TO_GET}.")
        self.frames_per_clip = frames_per_clip
        self.files = [clip for clip in self.clips for _ in range(frames_per_clip)]

    def __getitem__(self, index: int) -> FacePhoto:
        clip = self.files[index]  # also gives negative and too large numbers their usual meaning
        place = (index % self.frames_per_clip + 0.5) / self.frames_per_clip
        return FacePhoto(read_frame(clip, place), identity=self.identity(clip))

    def identity(self, file: Path) -> str:
        return file.parent.parent.name


def read_frame(clip: Path, place: float) -> np.ndarray:
    """The frame at `place` (0 start, 1 end) of a video file or of a folder of frames: (H, W, 3) uint8."""
    if clip.is_dir():
        frames = _frames(clip)
        return load_image(frames[min(int(place * len(frames)), len(frames) - 1)])
    try:
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            wanted = int((stream.start_time or 0) + place * (stream.duration or 0))
            container.seek(wanted, stream=stream)  # to the key frame before it
            frame = None
            for frame in container.decode(stream):
                if (frame.pts or 0) >= wanted:
                    break
            if frame is not None:
                return frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError) as error:
        raise LirecError(f"{clip} is damaged or no video: download it again.") from error
    raise LirecError(f"{clip} has no frames: download it again.")


def _is_clip(path: Path) -> bool:
    return path.suffix == ".mp4" or (path.is_dir() and bool(_frames(path)))


def _frames(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
