"""A photo becomes 3D faces: detection, RecNet, and what can be made of its coefficients."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.utils import BaseOutput

from lirec.errors import LirecError, writing
from lirec.geometry import (
    RenderOutput,
    euler_to_matrix,
    intrinsics,
    linear_to_srgb,
    matrix_to_euler,
    project,
    render,
)
from lirec.models.et_net import ETNet
from lirec.models.face_detector import FaceDetector
from lirec.models.face_embedder import FaceEmbedder
from lirec.models.mesh_feedback import Head
from lirec.models.morphable_model import MorphableModel
from lirec.models.rec_net import RecNet, RecNetOutput
from lirec.pipelines.base import LirecPipeline
from lirec.pipelines.light_fitting import fitted_light
from lirec.pipelines.texturing import photo_texture
from lirec.processing.crop import Crop
from lirec.processing.detection import Detection, default_finder, overlap
from lirec.processing.image import ImageSource, load_image, to_array, to_tensor
from lirec.processing.mesh_export import MeshData, export_mesh

if TYPE_CHECKING:
    from lirec.pipelines.capture import FaceCapture
    from lirec.pipelines.driving import DrivingSource
    from lirec.pipelines.reenactment import Progress

# What is no face is seen differently at each look: a found face loses score when the box of its landmarks overlaps the
# found box by less than this,
AGREEMENT = 0.6
# or when its landmarks move by more than this between the two looks, as a share of the face's size.
MOVEMENT = 0.03
# or when RecNet sees another face in its mirror image: when these differences, each over what is usual in photos,
USUAL_DIFFERENCES = {"expression": 0.06, "identity": 0.18, "light": 0.08, "angles": 0.018}
# have a product above this, which one photo in a hundred has.
DOUBT = 14.0
COOL = (0.80, 0.88, 1.0)  # the bare mesh over a photo, sRGB
CLAY = (0.60, 0.56, 0.52)  # and by itself


@dataclass
class Face:
    """
    One reconstructed face. Metres and radians; the camera is `intrinsics @ (rotation @ vertex + translation)`.

    Attributes:
        landmarks: (68, 2) iBUG-68, px of the picture; with ETNet the mean of where both networks see them, which is
            nearer to the truth than the mesh's own.
        vertices: (V, 3) face frame, with the expression.
        identity, expression, albedo: (80,), (51,) in [0, 1], (64,) coefficients of the morphable model.
        angles: (3,) pitch, yaw, roll.
        rotation, translation, intrinsics: (3, 3), (3,), (3, 3) of the picture's camera.
        light: (9, 3) spherical harmonics in the camera frame.
        box: (4,) x1, y1, x2, y2, the box round the landmarks, px.
        score: in [0, 1], how sure it is that this is a face; 1 for a box that was given.
        expression_names: ARKit names of the 51 expression coefficients.
    """

    landmarks: np.ndarray
    vertices: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    albedo: np.ndarray
    angles: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    intrinsics: np.ndarray
    light: np.ndarray
    box: np.ndarray
    score: float
    expression_names: tuple[str, ...]
    image: np.ndarray = field(repr=False)
    model: MorphableModel = field(repr=False)

    def coefficients(self) -> dict:
        """Everything but mesh and picture, as plain numbers; expressions by name."""
        values = {
            name: np.round(np.asarray(getattr(self, name), np.float64), 6).tolist()
            for name in (
                "box", "landmarks", "identity", "albedo", "angles", "rotation", "translation", "intrinsics", "light"
            )
        }  # fmt: skip
        expression = {name: round(float(v), 4) for name, v in zip(self.expression_names, self.expression, strict=True)}
        return {"score": round(float(self.score), 4), "expression": expression, **values}

    def render(self, height: int | None = None, width: int | None = None, textured: bool = True) -> RenderOutput:
        """Draw the face where it is in the picture (all of it by default); planes (1, C, H, W), linear albedo."""
        height, width = height or self.image.shape[0], width or self.image.shape[1]
        model = self.model
        texture = model.albedo(torch.as_tensor(self.albedo)[None]) if textured else None
        return render(
            *self._tensors("vertices"), model.triangles, *self._tensors("rotation", "translation", "intrinsics"),
            height, width, texture=texture, uv=model.uv if textured else None,
            triangles_uv=model.triangles_uv if textured else None, light=self._tensors("light")[0],
        )  # fmt: skip

    def close_up(self, size: int = 512, scale: float = 2.3) -> Face:
        """The same face in a square part of the picture that holds its head, drawn `size` px wide.

        The part is `scale` times the face box wide, less where the picture has no more.
        """
        x1, y1, x2, y2 = self.box.tolist()
        edge = max(x2 - x1, y2 - y1)
        height, width = self.image.shape[:2]
        side = min(scale * edge, max(1.3 * edge, min(height, width)))
        middle = (x1 + x2) / 2, (y1 + y2) / 2 - 0.2 * edge  # the box ends at the brows
        inside = (
            min(max(m, side / 2), length - side / 2) if side <= length else m
            for m, length in zip(middle, (width, height), strict=True)
        )
        return self.within(Crop(tuple(inside), side), size)

    def within(self, window: Crop, size: int, image: np.ndarray | None = None) -> Face:
        """The same face in an upright window, `size` px wide: in `image`, else in what its picture shows there."""
        return replace(
            self,
            image=window.extract(self.image, size) if image is None else image,
            landmarks=window.to_crop(self.landmarks, size),
            box=window.to_crop(self.box.reshape(2, 2), size).reshape(4),
            intrinsics=(window.matrix(size) @ self.intrinsics).astype(np.float32),
        )

    def overlay(self, strength: float = 0.75) -> np.ndarray:
        """(H, W, 3) uint8: the picture with the bare mesh drawn over it, lit from the camera."""
        drawn = self.render(textured=False)
        facing = (-drawn.normal[0, 2]).clamp(0, 1)
        clay = (0.25 + 0.7 * facing)[..., None].numpy() * np.array(COOL)
        mask = strength * drawn.mask[0, 0, ..., None].numpy()
        picture = self.image * (1 - mask) + 255 * clay * mask
        return picture.round().clip(0, 255).astype(np.uint8)

    def normal_map(self) -> np.ndarray:
        """(H, W, 4) uint8: the surface's direction, red to the right, green up, blue to the viewer; clear around."""
        drawn = self.render(textured=False)
        axes = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
        return to_array(torch.cat((0.5 + 0.5 * axes * drawn.normal[0], drawn.mask[0])))

    def albedo_map(self) -> np.ndarray:
        """(H, W, 4) uint8: the skin's own colour, without light, as the albedo model has it; clear around."""
        drawn = self.render()
        return to_array(torch.cat((linear_to_srgb(drawn.albedo[0].clamp(0, 1)), drawn.mask[0])))

    def only(self, *parts: str) -> Face:
        """
        The same head with some of its coefficients, the others at their mean (JR2Net, Figure 8).

        Args:
            parts: any of "identity", "expression", "albedo".

        Raises:
            LirecError: there is no such part.
        """
        known = ("identity", "expression", "albedo")
        if not set(parts) <= set(known):
            raise LirecError(f"A face's parts are {', '.join(known)}, not {', '.join(map(str, parts))}.")
        values = {name: getattr(self, name) * np.float32(name in parts) for name in known}
        identity, expression = (torch.as_tensor(values[name])[None] for name in known[:2])
        return replace(self, vertices=self.model(identity, expression)[0].numpy(), **values)

    def albedo_texture(self, size: int = 512) -> np.ndarray:
        """(size, size, 3) uint8 sRGB: the skin's own colour, without light, as a texture of the mesh."""
        texture = linear_to_srgb(self.model.albedo(torch.as_tensor(self.albedo)[None]))
        return to_array(F.interpolate(texture, (size, size), mode="bilinear", align_corners=False)[0])

    def mesh(self, texture_size: int = 1024, textured: bool = True) -> MeshData:
        """The mesh without expression, the 51 expressions as morph targets, and the photo as texture or clay."""
        model = self.model
        texture = None
        if textured:
            albedo = model.albedo(torch.as_tensor(self.albedo)[None])[0]
            texture = photo_texture(
                self.image, model, *(t[0] for t in self._tensors("vertices", "rotation", "translation", "intrinsics")),
                albedo, torch.as_tensor(self.light), texture_size,
            )  # fmt: skip
        neutral = model(torch.as_tensor(self.identity)[None], torch.zeros(1, len(self.expression)))[0]
        return MeshData(
            vertices=neutral.numpy(),
            triangles=model.triangles.numpy(),
            uv=model.uv.numpy(),
            triangles_uv=model.triangles_uv.numpy(),
            texture=texture,
            morph_targets=model.expression_basis.numpy(),
            colours=None if textured else np.tile(np.float32(CLAY), (len(neutral), 1)),
            morph_names=self.expression_names,
            morph_weights=self.expression,
        )

    def save(self, path: str | os.PathLike, texture_size: int = 1024) -> Path:
        """
        Write the face to a file, in the format of its ending.

        `.glb`: mesh, photo texture and 51 named morph targets. `.obj`, `.ply`: the mesh as it looks in the photo.
        `.json`: the coefficients.

        Raises:
            LirecError: an unknown ending, or a path that cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() == ".json":
            with writing(path):
                path.write_text(json.dumps(self.coefficients(), indent=1) + "\n", encoding="utf-8")
            return path
        return export_mesh(path, self.mesh(texture_size))

    def _tensors(self, *names: str) -> list[torch.Tensor]:
        return [torch.as_tensor(getattr(self, name), dtype=torch.float32)[None] for name in names]


@dataclass
class ReconstructionOutput(BaseOutput):
    """
    Args:
        faces (`list[Face]`): the faces of one picture, largest first, or in the order of the given boxes.
        image (`np.ndarray` of shape `(H, W, 3)`): the picture as it was read, uint8.
    """

    faces: list[Face]
    image: np.ndarray


class RecAugNetPipeline(LirecPipeline):
    r"""
    Photos to 3D faces (JR2Net, "Face reconstruction" and "Expression tracking"): RecAugNet is RecNet with the
    expressions of ETNet.

    Each face is looked at twice: in the box that was found, then upright in a window round the landmarks that the first
    look gave, where small errors of the box no longer matter.

    Args:
        rec_net ([`RecNet`]): regresses shape, expression, albedo, pose and light.
        morphable_model ([`MorphableModel`]): what the coefficients mean.
        face_detector ([`FaceDetector`], *optional*): finds faces; without it boxes must be given, or the
            face-alignment package is used when its weights are cached.
        face_embedder ([`FaceEmbedder`], *optional*): for `embed`.
        et_net ([`ETNet`], *optional*): sees expressions; without it they are RecNet's.
    """

    _optional_components = ["face_detector", "face_embedder", "et_net"]

    def __init__(
        self,
        rec_net: RecNet,
        morphable_model: MorphableModel,
        face_detector: FaceDetector | None = None,
        face_embedder: FaceEmbedder | None = None,
        et_net: ETNet | None = None,
    ):
        super().__init__()
        self.register_modules(
            rec_net=rec_net,
            morphable_model=morphable_model,
            face_detector=face_detector,
            face_embedder=face_embedder,
            et_net=et_net,
        )
        for network in (rec_net, face_detector, et_net):
            if network is not None:
                network.to(memory_format=torch.channels_last)  # convolves a fifth faster on CPUs

    @property
    def expression_names(self) -> tuple[str, ...]:
        """ARKit names of the 51 expression coefficients."""
        return self.morphable_model.expression_names

    @cached_property
    def _kept_model(self) -> MorphableModel:
        """The model as faces keep it: they are drawn on the CPU, wherever the pipeline moves."""
        return copy.deepcopy(self.morphable_model).to("cpu").float()

    @torch.no_grad()
    def __call__(
        self,
        image: ImageSource | Sequence[ImageSource],
        boxes: Sequence | None = None,
        threshold: float | None = None,
        mirror_average: bool = True,
        augmented: bool = True,
    ) -> ReconstructionOutput | list[ReconstructionOutput]:
        """
        Reconstruct the faces of one picture, or of each of a list.

        Args:
            image: path, bytes, PIL image, array or tensor, or a list or tuple of them.
            boxes: face boxes `[[x1, y1, x2, y2], ...]` in px (of a list of pictures, a list of such lists); found when
                None. A face box is the box round the 68 landmarks.
            threshold: least score of found faces; the detector's own when None.
            mirror_average: look at the mirror image of each crop too and average, for twice the time.
            augmented: take the expressions from ETNet where the pipeline has one (RecAugNet), else from RecNet.

        Returns:
            [`ReconstructionOutput`], or a list of them; `.faces` is empty where no face was found.

        Raises:
            LirecError: a picture cannot be read, or boxes do not fit.
        """
        many = isinstance(image, (list, tuple))
        images = [load_image(item) for item in (image if many else [image])]
        if boxes is None:
            found = [self.detect(item, threshold) for item in images]
        else:
            found = [self.given_boxes(item) for item in (boxes if many else [boxes])]
            if len(found) != len(images):
                raise LirecError(
                    f"There are {len(images)} pictures but boxes for {len(found)}: give one list for each."
                )
            for picture, faces in zip(images, found, strict=True):
                _check_inside([face.box for face in faces], picture)
        owners = [index for index, faces in enumerate(found) for _ in faces]
        detections = [face for faces in found for face in faces]
        images_of = [images[i] for i in owners]
        faces = self.reconstruct(images_of, detections, mirror_average, augmented) if owners else []
        outputs = [
            ReconstructionOutput(faces=[f for f, owner in zip(faces, owners, strict=True) if owner == i], image=item)
            for i, item in enumerate(images)
        ]
        if boxes is None:
            least = self._threshold() if threshold is None else threshold
            for output in outputs:
                output.faces = [face for face in output.faces if face.score >= least]
        return outputs if many else outputs[0]

    def capture(
        self,
        video: DrivingSource,
        *,
        box: Sequence[float] | None = None,
        smoothing: bool = True,
        augmented: bool = True,
        callback: Callable[[Progress], bool | None] | None = None,
    ) -> FaceCapture:
        """
        Motion capture: follow one face through a video.

        Expressions, head pose and gaze are of each frame; the person's shape and albedo are means over many.
        Memory does not grow with the pictures.

        Args:
            video: path of a video, a list of pictures, or an array (T, H, W, 3).
            box: x1, y1, x2, y2 px, the box of the face in the first frame; the largest when None.
            smoothing: take the tremble out.
            augmented: as of `__call__`.
            callback: called every few frames; returning False stops the work, and what is finished is kept.

        Returns:
            `FaceCapture`; its `save` writes `.glb`, `.csv` (Live Link Face) and `.json`.

        Raises:
            LirecError: the video cannot be read, has no face, or the box is none.
        """
        from lirec.pipelines.capture import capture  # which itself needs this pipeline

        return capture(self, video, box=box, smoothing=smoothing, augmented=augmented, callback=callback)

    def detect(self, image: ImageSource, threshold: float | None = None) -> list[Detection]:
        """The faces of a picture, largest first."""
        finder = default_finder(self.face_detector, device=self.device, threshold=threshold)
        return finder.detect(load_image(image))

    @torch.no_grad()
    def reconstruct(
        self,
        images: Sequence[np.ndarray],
        detections: Sequence[Detection],
        mirror_average: bool = True,
        augmented: bool = True,
    ) -> list[Face]:
        """One face for each picture (H, W, 3) uint8 and the detection that goes with it."""
        scale = self.rec_net.config.crop_scale
        crops = [Crop.from_box(detection.box, scale) for detection in detections]
        output = self.regress(self._patches(images, crops, self.rec_net.config.image_size), mirror_average=False)
        first = self._landmarks(output, crops)
        faces = self.look(images, _upright(output, first, crops, scale), mirror_average, augmented)
        for face, points, detection in zip(faces, first, detections, strict=True):
            certainty, face.score = face.score, float(detection.score)
            if face.score < 1:  # found, not given
                size = math.sqrt((face.box[2:] - face.box[:2]).prod())
                movement = float(np.linalg.norm(face.landmarks - points, axis=1).mean()) / size
                face.score *= certainty
                face.score *= min(1.0, overlap(face.box, detection.box)[0] / AGREEMENT)
                face.score *= min(1.0, MOVEMENT / max(movement, 1e-6))
        return faces

    @torch.no_grad()
    def look(
        self,
        images: Sequence[np.ndarray],
        crops: Sequence[Crop],
        mirror_average: bool = True,
        augmented: bool = True,
        fit_light: bool = True,
    ) -> list[Face]:
        """One face for each picture (H, W, 3) uint8 and the window on it in which RecNet looks, once.

        Their scores say how much alike RecNet sees them and their mirror images; without a mirror image they are 1.
        With `fit_light` the light is fitted to the pictures, which takes as long as a look.
        """
        seen = self._patches(images, crops, self.rec_net.config.image_size)
        sides = self._sides(seen, mirror_average)
        output, tracked = _average(sides), None
        if augmented and self.et_net is not None:
            config = self.et_net.config
            close = _upright(output, self._landmarks(output, crops), crops, config.crop_scale)
            patches = self._patches(images, close, config.image_size)
            head = self.track(patches.to(self.et_net.head.weight.dtype), mirror_average)
            output.expression = head.expression
            tracked = self._landmarks(head, close)
        if fit_light:
            output.light = fitted_light(seen, output, self.morphable_model)
        faces = self._faces(output, crops, images, tracked)
        if mirror_average:
            for face, score in zip(faces, _certainty(*sides).tolist(), strict=True):
                face.score = score
        return faces

    def track(self, images: torch.Tensor, mirror_average: bool = True) -> Head:
        """The heads that ETNet sees in its crops (B, 3, S, S) in [0, 1]; expressions are brought into [0, 1]."""
        head = self.et_net(images).heads[-1]
        expression = head.expression
        if mirror_average:
            mirrored = self.et_net(images.flip(3)).expression[:, self.morphable_model.expression_mirror]
            expression = 0.5 * (expression + mirrored)
        return replace(head, expression=expression.clamp(0, 1))

    def regress(self, images: torch.Tensor, mirror_average: bool = True) -> RecNetOutput:
        """RecNet on crops (B, 3, S, S) in [0, 1], expressions brought into [0, 1]."""
        return _average(self._sides(images, mirror_average))

    def _sides(self, images: torch.Tensor, mirror_average: bool) -> list[RecNetOutput]:
        """What RecNet sees in crops and, where it is asked for, in their mirror images, turned back."""
        images = images.to(self.rec_net.head.weight.dtype)
        sides = [self.rec_net(images)]
        if mirror_average:
            sides.append(self.rec_net(images.flip(3)).mirrored(self.morphable_model))
        return sides

    @torch.no_grad()
    def embed(self, faces: Sequence[Face]) -> np.ndarray:
        """
        Unit vectors (N, D) of faces; the cosine of two says how alike they look.

        Raises:
            LirecError: the pipeline has no `face_embedder`.
        """
        if self.face_embedder is None:
            raise LirecError("This pipeline has no face embedder: load one that has, such as hub/rec-aug-net.")
        config = self.face_embedder.config
        crops = [Crop.from_landmarks(face.landmarks, float(face.angles[2]), config.crop_scale) for face in faces]
        patches = [crop.extract(face.image, config.image_size) for crop, face in zip(crops, faces, strict=True)]
        if not patches:
            return np.zeros((0, config.dimension), np.float32)
        images = to_tensor(np.stack(patches), self.face_embedder.device).to(self.face_embedder.dtype)
        return self.face_embedder(images).float().cpu().numpy()

    def _threshold(self) -> float:
        return self.face_detector.config.threshold if self.face_detector is not None else 0.5

    @staticmethod
    def given_boxes(boxes) -> list[Detection]:
        """Boxes `[[x1, y1, x2, y2], ...]` px, checked, as if they had been found."""
        wrong = "Boxes are a list of [x1, y1, x2, y2] in pixels, one for each face."
        try:
            array = np.asarray(boxes, np.float32)
        except (TypeError, ValueError) as error:
            raise LirecError(wrong) from error
        if array.size == 0:
            return []
        if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
            raise LirecError(wrong)
        return [Detection(box, 1.0) for box in array]

    def _patches(self, images, crops, size: int) -> torch.Tensor:
        patches = np.stack([crop.extract(image, size) for crop, image in zip(crops, images, strict=True)])
        return to_tensor(patches, self.morphable_model.device)

    def _landmarks(
        self, output: RecNetOutput | Head, crops: Sequence[Crop], vertices: torch.Tensor | None = None
    ) -> list[np.ndarray]:
        """(68, 2) px of the pictures, for each crop."""
        if vertices is None:
            vertices = self.morphable_model(output.identity, output.expression)
        camera = intrinsics(output.focal, vertices.new_full((len(vertices), 2), 0.5))
        projected = project(vertices, euler_to_matrix(output.angles), output.translation, camera)
        points = self.morphable_model.landmarks(projected, output.angles).cpu().numpy()
        return [crop.to_image(p, 1) for p, crop in zip(points, crops, strict=True)]

    def _faces(self, output: RecNetOutput, crops, images, tracked: list[np.ndarray] | None = None) -> list[Face]:
        """With `tracked`, landmarks that ETNet sees, those of the faces are the mean of the two networks'."""
        vertices = self.morphable_model(output.identity, output.expression)
        points = self._landmarks(output, crops, vertices)
        if tracked is not None:
            points = [(ours + theirs) / 2 for ours, theirs in zip(points, tracked, strict=True)]
        vertices = vertices.cpu().numpy()
        rotations = euler_to_matrix(output.angles).cpu().numpy()
        values = {name: output[name].cpu().numpy() for name in output}
        faces = []
        for i, (crop, image) in enumerate(zip(crops, images, strict=True)):
            rotation, translation, intrinsics = crop.to_image_camera(
                rotations[i], values["translation"][i], values["focal"][i]
            )
            box = np.concatenate((points[i].min(0), points[i].max(0))).astype(np.float32)
            faces.append(
                Face(
                    landmarks=points[i].astype(np.float32),
                    vertices=vertices[i],
                    identity=values["identity"][i],
                    expression=values["expression"][i],
                    albedo=values["albedo"][i],
                    angles=matrix_to_euler(torch.from_numpy(rotation.astype(np.float32))).numpy(),
                    rotation=rotation.astype(np.float32),
                    translation=translation.astype(np.float32),
                    intrinsics=intrinsics.astype(np.float32),
                    light=_turn_light(values["light"][i], crop.angle),
                    box=box,
                    score=1.0,
                    expression_names=self.expression_names,
                    image=image,
                    model=self._kept_model,
                )
            )
        return faces


def _average(sides: Sequence[RecNetOutput]) -> RecNetOutput:
    """The mean of what was seen, expressions brought into [0, 1]."""
    names = sides[-1].keys() - {"earlier"}
    output = RecNetOutput(**{name: sum(side[name] for side in sides) / len(sides) for name in names})
    output.expression = output.expression.clamp(0, 1)
    return output


def _certainty(seen: RecNetOutput, mirrored: RecNetOutput) -> torch.Tensor:
    """(B,) 1 where a face and its mirror image are seen alike, less where they are not; see `DOUBT`."""
    doubt = 1.0
    for name, usual in USUAL_DIFFERENCES.items():
        difference = (seen[name] - mirrored[name]).flatten(1).float()
        doubt = doubt * difference.square().mean(1).sqrt() / usual
    return (DOUBT / doubt.clamp_min(1e-6)).clamp_max(1) ** 3


def _check_inside(boxes: Sequence[np.ndarray], picture: np.ndarray) -> None:
    height, width = picture.shape[:2]
    for x1, y1, x2, y2 in boxes:
        if x2 < 0 or y2 < 0 or x1 > width or y1 > height:
            raise LirecError(f"A box lies outside its picture, which is {width} x {height} px: give one on a face.")


def _upright(output: RecNetOutput, landmarks, crops: Sequence[Crop], scale: float) -> list[Crop]:
    """Windows round landmarks (68, 2) that were found in `crops`, in which the faces stand upright."""
    return [
        Crop.from_landmarks(points, crop.angle + float(angles[2]), scale)
        for points, angles, crop in zip(landmarks, output.angles.cpu(), crops, strict=True)
    ]


def _turn_light(light: np.ndarray, angle: float) -> np.ndarray:
    """Light (9, 3) of an upright crop's camera in the picture's camera, which is turned by `angle` about its axis."""
    cosine, sine = np.cos(angle), np.sin(angle)
    double_cosine, double_sine = np.cos(2 * angle), np.sin(2 * angle)
    turned = light.copy()
    # the picture's (x, y) = (c x + s y, -s x + c y) of the crop's; each band's pairs (y, x) turn alike
    for x, y in ((3, 1), (7, 5)):
        turned[x] = cosine * light[x] + sine * light[y]
        turned[y] = -sine * light[x] + cosine * light[y]
    turned[8] = double_cosine * light[8] + double_sine * light[4]
    turned[4] = -double_sine * light[8] + double_cosine * light[4]
    return turned
