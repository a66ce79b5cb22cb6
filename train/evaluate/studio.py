"""Driving faces and looking at the result, to measure reenactment."""

from collections.abc import Container, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lirec import DCNetPipeline
from lirec.geometry import matrix_to_euler, project, rasterize
from lirec.geometry.view_synthesis import HeadView
from lirec.models.conditions import ConditionRenderer, relit
from lirec.models.layered_output import Adjustments
from lirec.pipelines.reconstruction import Face
from lirec.pipelines.tracking import FaceTracker
from lirec.processing.crop import Crop
from lirec.processing.detection import Detection
from lirec.processing.image import to_array, to_tensor
from train.data.pairs import place_on_landmarks

REAL_SIZE, WINDOW, RISE = 128, 2.1, 0.06
"""Pixels of real faces in their windows; the windows' side over the face box's, and how far, in sides, their middle is
above."""


class Studio:
    """Drives faces with DCNet, and looks at what comes out with the reconstruction's networks.

    All pictures are square and of one size S, and a driven head is put where the driver's is in its picture: its
    landmarks have the middle and the spread of the driver's.

    Args:
        pipeline: the networks.
    """

    def __init__(self, pipeline: DCNetPipeline):
        self.network, self.reconstruction = pipeline.dc_net, pipeline.reconstruction
        self.model = self.reconstruction.morphable_model
        self.renderer = ConditionRenderer(self.model, self.network.config.image_size)

    @torch.no_grad()
    def look(self, pictures: Tensor | Sequence[np.ndarray], boxes) -> list[Face]:
        """The faces in given boxes (B, 4) px of pictures, (B, 3, S, S) or arrays."""
        images = list(to_array(pictures)) if isinstance(pictures, Tensor) else list(pictures)
        boxes = boxes.cpu().numpy() if isinstance(boxes, Tensor) else np.stack(boxes)
        return self.reconstruction.reconstruct(images, [Detection(box, 1.0) for box in boxes])

    def watch(self, frames: Iterable[np.ndarray], chosen: Container[int]) -> dict[int, Face]:
        """The largest face followed through frames: those of the chosen frames in which it is seen, by their index."""
        tracker, faces = FaceTracker(self.reconstruction), {}
        for index, frame in enumerate(frames):
            if tracker.follow(frame).motion is not None and index in chosen:
                (faces[index],) = self.look([frame], [tracker.box])
        return faces

    def find(self, picture: np.ndarray) -> Face | None:
        """The largest face of a photo, None where pipelines would find none."""
        return next(iter(self.reconstruction(picture).faces), None)

    @torch.no_grad()
    def drive(
        self, sources: Sequence[Face], drivers: Sequence[Face], lights: Sequence[str] = ("source",)
    ) -> tuple[Tensor, ...]:
        """Pictures (B, 3, S, S) of the sources with the drivers' expressions and poses: DCNet's, in each light, that of
        the "source" or all of that of the "driving" one, and the pixels that it moves alone."""
        photo, view = self.pictures(sources), self.view(sources, drivers)
        source = self.renderer.source(photo, self.view(sources, sources))
        told = (self._stack(face.light for face in faces) for faces in (sources, drivers))
        harmonics, pictures = {"source": None, "driving": relit(source, *told)}, []
        for light in lights:
            driven = self.renderer.driven(source, view, light=harmonics[light])
            image = self.network(source, driven).image.float().clamp(0, 1)
            if image.shape[2:] != photo.shape[2:]:
                image = F.interpolate(image, photo.shape[2:], mode="bilinear", antialias=True, align_corners=False)
            pictures.append(image)
        as_it_is = Adjustments(photo.new_zeros(len(photo), 6, 1, 1), photo.shape[2:])
        return *pictures, as_it_is.moved(source, driven)

    def view(self, shapes: Sequence[Face], motions: Sequence[Face]) -> HeadView:
        """Heads of one's shape and the other's expression, pose and camera, their landmarks about where the other's
        are."""
        size = motions[0].image.shape[0]
        unit = np.diag([1 / size, 1 / size, 1])
        view = HeadView(
            self.model(
                self._stack(face.identity for face in shapes), self._stack(face.expression for face in motions)
            ),
            self._stack(face.rotation for face in motions),
            self._stack(face.translation for face in motions),
            self._stack(unit @ face.intrinsics for face in motions),
        )
        wanted = self._stack(face.landmarks for face in motions) / size
        view.translation = place_on_landmarks(view, wanted, self.model)
        return view

    def pictures(self, faces: Sequence[Face]) -> Tensor:
        """(B, 3, S, S) that the faces are in."""
        return to_tensor(np.stack([face.image for face in faces]), self.model.device)

    @torch.no_grad()
    def face_mask(self, faces: Sequence[Face]) -> Tensor:
        """(B, 1, S, S) 1 where skin, eyes or mouth are seen: not hair, ears and neck."""
        view, size = self.view(faces, faces), faces[0].image.shape[0]
        points = project(view.vertices, view.rotation, view.translation, view.K) * self._numbers((size, size, 1))
        triangle = rasterize(points, self.model.triangles, size, size).triangle
        is_face = ~self.model.select_triangles("scalp", "ear", "neck")
        return ((triangle >= 0) & is_face[triangle.clamp_min(0)])[:, None]

    @torch.no_grad()
    def landmarks(self, shapes: Sequence[Face], motions: Sequence[Face]) -> Tensor:
        """(B, 68, 2) px, of the heads of `view`."""
        view, size = self.view(shapes, motions), motions[0].image.shape[0]
        points = project(view.vertices, view.rotation, view.translation, view.K)
        return size * self.model.landmarks(points, matrix_to_euler(view.rotation))

    def rotations(self, faces: Sequence[Face]) -> Tensor:
        """(B, 3, 3)."""
        return self._stack(face.rotation for face in faces).cpu()

    def likeness(self, faces: Sequence[Face], others: Sequence[Face]) -> Tensor:
        """(B,) cosines of the identity vectors of faces and others."""
        return torch.from_numpy((self.reconstruction.embed(faces) * self.reconstruction.embed(others)).sum(1))

    def _stack(self, arrays: Iterable[np.ndarray]) -> Tensor:
        return self._numbers(np.stack(list(arrays)))

    def _numbers(self, values) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self.model.device)


def framed(face: Face, size: int = REAL_SIZE) -> Face:
    """The same face in a square window on its picture, drawn `size` px wide."""
    window = Crop.from_box(face.box, WINDOW)
    centre = window.centre[0], window.centre[1] - RISE * window.side
    return face.within(Crop(centre, window.side), size)
