"""A photo made ready to be moved, drawn again with its head in other poses and expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch
import torch.nn.functional as F

from lirec.geometry import matrix_to_euler, project
from lirec.geometry.view_synthesis import HeadView
from lirec.models.conditions import ConditionRenderer, SourceMaps, relit
from lirec.models.dc_net import DCNet
from lirec.models.morphable_model import MorphableModel
from lirec.pipelines.reconstruction import Face
from lirec.pipelines.tracking import Motion, place
from lirec.processing.crop import Crop
from lirec.processing.image import to_array, to_tensor
from lirec.processing.paste import PasteBack


def head_window(landmarks: np.ndarray, scale: float, rise: float) -> Crop:
    """The upright window round a head, at whole px, so that what stays as it is can be put back unchanged.

    Args:
        landmarks: (68, 2) px.
        scale: its side over the longer edge of their box.
        rise: how far its middle is above the box's, in sides.
    """
    low, high = landmarks.min(0), landmarks.max(0)
    side = max(round(scale * float((high - low).max())), 2)
    middle = (low + high) / 2 - (0, rise * side)
    left, top = (round(float(value) - side / 2) for value in middle)
    return Crop((left + side / 2, top + side / 2), side)


class Portrait:
    """
    A photo whose face DCNet can draw anew.

    Args:
        face: the face, with its photo.
        dc_net: draws it.
        model: what the face's coefficients mean, where `dc_net` is.
        size: px of the drawn window; its own in the photo, at most `most`, when None.
        most: see there.

    Attributes:
        face: as given.
        crop: the window round the head.
        motion: how the head is in the photo.
        size: px of the drawn window.
        paste: a drawn window to the whole photo.
    """

    def __init__(self, face: Face, dc_net: DCNet, model: MorphableModel, size: int | None = None, most: int = 512):
        config = dc_net.config
        self.face, self.dc_net, self.model = face, dc_net, model
        self.crop = head_window(face.landmarks, config.crop_scale, config.crop_rise)
        self.motion = Motion.of(face)
        self.size = min(max(round(self.crop.side), config.image_size), most) if size is None else size
        self.renderer = ConditionRenderer(model, config.image_size)
        photo = to_tensor(self.crop.extract(face.image, self.size), model.device)
        self.maps = self.renderer.source(photo, self.view([self.motion]))
        with torch.no_grad():
            self.features = dc_net.encode(self.maps)
        self.paste = PasteBack(face.image, self.crop)

    def view(self, motions: Sequence[Motion]) -> HeadView:
        """The source's head moved, as the window's camera sees it; motions are in px of the photo."""
        K = self.crop.matrix(1) @ self.face.intrinsics
        scales = np.array([[motion.scale] for motion in motions]) / self.crop.side
        places = np.stack([self.crop.to_crop(motion.position, 1) for motion in motions])
        identity = self._tensor(self.face.identity)[None].expand(len(motions), -1)
        return HeadView(
            vertices=self.model(identity, self._tensor([motion.expression for motion in motions])),
            rotation=self._tensor([motion.rotation for motion in motions]),
            translation=self._tensor(place(places, scales, K[0, 0], K[:2, 2])),
            K=self._tensor(K)[None].expand(len(motions), -1, -1),
        )

    @torch.no_grad()
    def draw(self, motions: Sequence[Motion], light: str = "source") -> np.ndarray:
        """
        Draw the window.

        Args:
            motions: B motions of the head, in px of the photo.
            light: "source", or "driving" for that of the motions: its directions, in the source's strength and tint.

        Returns:
            (B, S, S, 3) uint8.
        """
        maps = _repeat(self.maps, len(motions))
        harmonics = None
        if light == "driving":
            own = self._tensor(self.motion.light)[None]
            lights = [self.motion.light if motion.light is None else motion.light for motion in motions]
            lights = self._tensor(lights)
            harmonics = relit(maps, own, lights * (own[:, :1] / lights[:, :1].clamp_min(0.1)))
        driven = self.renderer.driven(maps, self.view(motions), light=harmonics)
        image = self.dc_net(maps, driven, self.features).image
        if image.shape[3] != self.size:  # painted at the network's own size
            image = F.interpolate(image, (self.size, self.size), mode="bicubic", align_corners=False)
        return to_array(image)

    def moved(self, motion: Motion, image: np.ndarray) -> Face:
        """The face as it is in another motion, in the photo (H, W, 3) uint8 that shows it."""
        face = self.face
        focal, principal = face.intrinsics[0, 0], face.intrinsics[:2, 2]
        translation = place(motion.position, np.array([motion.scale]), focal, principal).astype(np.float32)
        model = face.model
        tensors = [torch.as_tensor(value)[None] for value in (face.identity, motion.expression)]
        vertices = model(*tensors)
        camera = [torch.as_tensor(value)[None] for value in (motion.rotation, translation, face.intrinsics)]
        angles = matrix_to_euler(camera[0])
        landmarks = model.landmarks(project(vertices, *camera), angles)[0].numpy()
        return replace(
            face,
            landmarks=landmarks,
            vertices=vertices[0].numpy(),
            expression=motion.expression,
            angles=angles[0].numpy(),
            rotation=motion.rotation,
            translation=translation,
            box=np.concatenate((landmarks.min(0), landmarks.max(0))),
            image=image,
        )

    def _tensor(self, values) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.float32), device=self.model.device)


def _repeat(maps: SourceMaps, count: int) -> SourceMaps:
    """The maps of one source as if there were `count` of it."""

    def expand(value):
        if value is None:
            return None
        if isinstance(value, torch.Tensor):
            return value.expand(count, *value.shape[1:])
        return replace(value, **{part.name: expand(getattr(value, part.name)) for part in fields(value)})

    return expand(maps)
