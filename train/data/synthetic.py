"""Rendered faces, endless and seeded, on CPU or CUDA: `python -m train.data.synthetic --output sheet.png`.

A picture is who (shape coefficients, `Skins`, `Looks`), what the face does (`Motion`: expression and head pose), and
how it is seen (camera and `Lamp`). Several pictures can share a person or a motion.
"""

import argparse
import math
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F

from lirec.errors import LirecError
from lirec.geometry.camera import FARTHEST, NEAREST, intrinsics, project
from lirec.geometry.lighting import directional_light, linear_to_srgb, shade, srgb_to_linear
from lirec.geometry.mesh import vertex_normals
from lirec.geometry.rasterizer import interpolate, rasterize
from lirec.geometry.rotation import euler_to_matrix
from lirec.models.morphable_model import NECK_PIVOT, MorphableModel
from lirec.models.weights import load_model
from train.common import command, image_grid
from train.data.backgrounds import Backgrounds
from train.data.degradations import degrade
from train.data.props import Props
from train.data.skins import Dice, SkinPainter, Skins, column

BOX_SCALE = 1.45  # a picture's side over the longer side of the box round the 68 landmarks
HELD_OUT_SEED = 10**9  # seeds from here on are kept for evaluation


@dataclass
class RenderedFaces:
    """
    A batch of B rendered faces with their truth, S pixels wide. The camera is the crop camera of RecNet:
    `K = [[focal S, 0, S/2], [0, focal S, S/2], [0, 0, 1]]`.

    Attributes:
        image (`(B, 3, S, S)`): sRGB in [0, 1] as a bad camera would see it.
        clean (`(B, 3, S, S)`): the same before blur, noise and compression.
        mask, skin, foreground (`(B, 1, S, S)`): all of the head; its uncovered skin; everything but the background.
        normal (`(B, 3, S, S)`): camera frame, 0 outside the head.
        depth (`(B, 1, S, S)`): camera z in metres, 0 outside the head.
        identity (`(B, 80)`), expression (`(B, 51)`), albedo_coefficients (`(B, 64)`): the model's coefficients.
        angles (`(B, 3)`), rotation (`(B, 3, 3)`), translation (`(B, 3)`), focal (`(B,)`): pose and camera;
            the focal length is in picture widths.
        light (`(B, 9, 3)`): all light together, without shadows.
        landmarks (`(B, 68, 2)`): pixels.
        identity_number (`(B,)`): equal for pictures of one person.
    """

    image: torch.Tensor
    clean: torch.Tensor
    mask: torch.Tensor
    skin: torch.Tensor
    foreground: torch.Tensor
    normal: torch.Tensor
    depth: torch.Tensor
    identity: torch.Tensor
    expression: torch.Tensor
    albedo_coefficients: torch.Tensor
    angles: torch.Tensor
    rotation: torch.Tensor
    translation: torch.Tensor
    focal: torch.Tensor
    light: torch.Tensor
    landmarks: torch.Tensor
    identity_number: torch.Tensor

    def __len__(self):
        return len(self.image)


def take(record, index: torch.Tensor):
    """The rows `index` of a dataclass of tensors."""
    return type(record)(**{f.name: getattr(record, f.name)[index] for f in fields(record)})


@dataclass
class Motion:
    expression: torch.Tensor  # (B, 51)
    angles: torch.Tensor  # (B, 3)


@dataclass
class Lamp:
    environment: torch.Tensor  # (B, 9, 3) soft light
    direction: torch.Tensor  # (B, 3) towards the key light, camera frame
    colour: torch.Tensor  # (B, 3)
    shadow: torch.Tensor  # (B,) how dark the key's shadows are
    softness: torch.Tensor  # (B,) width of a shadow's edge in texels of the shadow map


class ExpressionSampler:
    """
    Expressions as people make them, and single and one-sided actions as nobody does often enough.

    Half are mixtures of the actions that go together in speech and emotion, most others are a few strong actions at
    once, the rest weak or neutral. Each action moves in about a fifth of the pictures: what is rare is hardly learnt.
    """

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.index = {name: i for i, name in enumerate(names)}
        paired = [name[:-4] for name in names if name.endswith("Left") and name[:-4] + "Right" in self.index]
        self.units = [[self.index[n + "Left"], self.index[n + "Right"]] for n in paired]
        self.units += [[i] for i, n in enumerate(names) if not n.endswith(("Left", "Right")) or n in
                       ("jawLeft", "jawRight", "mouthLeft", "mouthRight")]  # fmt: skip
        self.unit_names = [self._unit_name(unit) for unit in self.units]
        self.units = [
            u for u, n in zip(self.units, self.unit_names, strict=True) if not n.startswith("eyeLook")
        ]
        self.unit_names = [n for n in self.unit_names if not n.startswith("eyeLook")]

    def _unit_name(self, unit):
        name = self.names[unit[0]]
        return name[:-4] if len(unit) == 2 else name

    def sample(self, dice: Dice) -> torch.Tensor:
        count = dice.count
        weights = torch.zeros(count, len(self.names), device=dice.device)
        kind = dice.choice([0.45, 0.45, 0.1])  # mixtures, few strong actions, weak

        unit_count = len(self.units)
        chance = torch.full((unit_count,), 0.22, device=dice.device)
        for name, value in (("mouthSmile", 0.3), ("jawOpen", 0.4), ("eyeBlink", 0.2), ("eyeSquint", 0.25),
                            ("browInnerUp", 0.2), ("browDown", 0.22), ("browOuterUp", 0.2)):  # fmt: skip
            if name in self.unit_names:
                chance[self.unit_names.index(name)] = value
        active_mixture = (dice.uniform(0, 1, unit_count) < chance).float()
        active_few = (dice.uniform(0, 1, unit_count) < 6 / unit_count).float()
        active = torch.where(kind[:, None] == 0, active_mixture, active_few)
        strength = dice.uniform(0, 1, unit_count)
        gentle = strength**1.7
        amount = active * torch.where(kind[:, None] == 0, gentle, strength)
        amount = torch.where(kind[:, None] == 2, amount * 0.3, amount)
        # one side alone, now and then; a little uneven always
        side = dice.uniform(0, 1, unit_count)
        uneven = dice.normal(0, 0.12, unit_count)
        left = torch.where(side < 0.12, 0.0, 1.0) * (1 + uneven)
        right = torch.where(side > 0.88, 0.0, 1.0) * (1 - uneven)
        for u, unit in enumerate(self.units):
            weights[:, unit[0]] = amount[:, u] * (left[:, u] if len(unit) == 2 else 1)
            if len(unit) == 2:
                weights[:, unit[1]] = amount[:, u] * right[:, u]
        self._together(dice, weights, kind == 0)
        self._gaze(dice, weights)
        weights.clamp_(0, 1)
        close, jaw = self.index["mouthClose"], self.index["jawOpen"]
        weights[:, close] = torch.minimum(weights[:, close], weights[:, jaw])  # lips cannot close further
        for a, b in (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")):
            first, second = weights[:, self.index[a]].clone(), weights[:, self.index[b]].clone()
            weights[:, self.index[a]] = torch.where(first >= second, first, 0.0)
            weights[:, self.index[b]] = torch.where(second > first, second, 0.0)
        return weights

    def _together(self, dice, weights, where):
        """A smile lifts cheeks and lips, lips close over an open jaw: actions that come with others."""
        jaw = weights[:, self.index["jawOpen"]]
        weights[:, self.index["mouthClose"]] = jaw * dice.chance(0.3) * dice.uniform(0, 1)
        for leader, followers in (
            (
                "mouthSmile",
                {"cheekSquint": 0.7, "mouthUpperUp": 0.6, "mouthLowerDown": 0.4, "eyeSquint": 0.6},
            ),
            ("noseSneer", {"mouthUpperUp": 0.7, "browDown": 0.5}),
            ("mouthFrown", {"mouthStretch": 0.4, "browDown": 0.4}),
        ):
            for follower, most in followers.items():
                follows = dice.chance(0.5) * dice.uniform(0, most) * where
                for side in ("Left", "Right"):
                    lead = weights[:, self.index[leader + side]]
                    column_ = self.index[follower + side]
                    weights[:, column_] = torch.maximum(weights[:, column_], lead * follows)

    def _gaze(self, dice, weights):
        across, up = dice.normal(0, 0.45), dice.normal(-0.05, 0.4)
        still = dice.chance(0.2)
        across, up = across * (1 - still), up * (1 - still)
        for name, value in (
            ("eyeLookOutLeft", across), ("eyeLookInRight", across), ("eyeLookInLeft", -across),
            ("eyeLookOutRight", -across), ("eyeLookUpLeft", up), ("eyeLookUpRight", up),
            ("eyeLookDownLeft", -up), ("eyeLookDownRight", -up),
        ):  # fmt: skip
            weights[:, self.index[name]] = value.clamp(0, 1)


class SyntheticFaces:
    """
    Draws faces of the morphable model with procedural skin, hair, clothes, light and background.

    Args:
        model: the morphable model.
        size: width and height of the pictures.
        device: where to draw.
        texture_size: texels of the painted skins; 256 suits pictures up to about 256 pixels.
        supersampling: the pictures are drawn this much larger and averaged down.
    """

    def __init__(
        self,
        model: MorphableModel,
        size: int = 192,
        device: str | torch.device = "cpu",
        texture_size: int = 256,
        supersampling: float = 1.25,
    ):
        self.device = torch.device(device)
        self.model = model.to(self.device).float().eval().requires_grad_(False)
        self.size, self.drawn = size, round(size * supersampling)
        self.painter = SkinPainter(self.model, texture_size, self.device)
        self.props = Props(self.model, self.painter, self.device)
        self.expressions = ExpressionSampler(self.model.expression_names)
        self.backgrounds = Backgrounds(self.device)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        seed: int,
        pictures_per_identity: int = 1,
        identities_per_motion: int = 1,
        degraded: bool = True,
    ) -> RenderedFaces:
        """
        Draw `count` faces; the same seed gives the same pictures on the same kind of device.

        Args:
            count: number of pictures.
            seed: any whole number; from `HELD_OUT_SEED` on for evaluation only.
            pictures_per_identity: so many neighbours share the person (other motion, camera and light).
            identities_per_motion: so many neighbours share expression and head pose (other person).
            degraded: whether `image` differs from `clean`.

        Raises:
            LirecError: when count is no multiple of the shared number, or both are asked for.
        """
        shared = pictures_per_identity * identities_per_motion
        if count % shared or min(pictures_per_identity, identities_per_motion) > 1:
            raise LirecError(
                f"{count} pictures cannot be shared as asked: give a multiple of pictures_per_identity or of "
                "identities_per_motion, and only one of them."
            )
        generator = torch.Generator(self.device).manual_seed(seed)
        people = count // pictures_per_identity
        dice = Dice(people, generator)
        identity = dice.normal(0, 1, self.model.config.identity_count) * dice.uniform(0.6, 1.35, 1)
        skins = self.painter.sample(people, generator)
        looks = self.props.sample_looks(dice, skins)
        person = torch.arange(people, device=self.device).repeat_interleave(pictures_per_identity)
        motions = count // identities_per_motion
        motion = self._motion(Dice(motions, generator))
        motion = take(
            motion, torch.arange(motions, device=self.device).repeat_interleave(identities_per_motion)
        )
        faces = self._draw(
            Dice(count, generator),
            identity[person],
            take(skins, person),
            take(looks, person),
            motion,
            degraded,
        )
        faces.identity_number = seed * 1_000_003 % 2**40 + person
        return faces

    @torch.no_grad()
    def sample_clips(
        self, clips: int, frames: int, seed: int, wild: float = 0.3, motion: Motion | None = None
    ) -> RenderedFaces:
        """
        Draw `frames` pictures of each of `clips` scenes, as if one camera had seen a person move: person, clothes,
        light, background and camera stay, expression and head pose change; the head turns about its neck.

        Args:
            clips, frames: their numbers; the frames of a clip are neighbours in the result.
            seed: any whole number; from `HELD_OUT_SEED` on for evaluation only.
            wild: share of the clips whose skin is mixed with some other picture, so that who learns to move pixels
                does not rely on skin.
            motion: what each of the `clips * frames` pictures shows, instead of random poses and expressions; then
                lamps and necks keep still as well.

        Returns:
            `RenderedFaces` of `clips * frames` pictures, in which the face is between a half and two thirds of the
            picture wide; nothing is degraded.
        """
        generator = torch.Generator(self.device).manual_seed(seed)
        dice = Dice(clips, generator)
        identity = dice.normal(0, 1, self.model.config.identity_count) * dice.uniform(0.6, 1.35, 1)
        skins = self.painter.sample(clips, generator)
        looks = self.props.sample_looks(dice, skins)
        pictures = srgb_to_linear(self.backgrounds.sample(dice, skins.bearded.shape[3]))
        mixed = column(dice.chance(wild) * dice.uniform(0.2, 0.9))
        skins.bearded = skins.bearded + mixed * (pictures - skins.bearded)
        clip = torch.arange(clips, device=self.device).repeat_interleave(frames)
        faces = self._draw(
            Dice(clips * frames, generator, repeats=frames),
            identity[clip],
            take(skins, clip),
            take(looks, clip),
            self._clip_motion(dice, frames) if motion is None else motion,
            degraded=False,
            frames=frames,
            still=motion is not None,
        )
        faces.identity_number = seed * 1_000_003 % 2**40 + clip
        return faces

    # what the face does, and how it is seen ---------------------------------------------------------------------

    def _clip_motion(self, dice: Dice, frames: int) -> Motion:
        """What `frames` neighbours do: poses near each other or far, expressions of their own."""
        every = Dice(dice.count * frames, dice.generator)
        clip = torch.arange(dice.count, device=self.device).repeat_interleave(frames)
        yaw = torch.where(dice.chance(0.3) > 0, dice.uniform(-60, 60), dice.normal(0, 16))
        first = torch.stack((dice.normal(2, 9), yaw, dice.normal(0, 7)), 1)
        spread = yaw.new_tensor([4.0, 14.0, 32.0])[dice.choice([0.3, 0.4, 0.3])]
        change = spread[clip, None] * every.normal(0, 1, 3) * yaw.new_tensor([0.6, 1.0, 0.5])
        change[::frames] = 0
        limit = yaw.new_tensor([35.0, 75.0, 35.0])
        angles = (first[clip] + change).clamp(-limit, limit) * (math.pi / 180)
        calm = every.chance(0.25) * every.uniform(0.5, 1)
        expression = self.expressions.sample(every) * (1 - calm)[:, None]
        return Motion(expression, angles)

    def _motion(self, dice: Dice) -> Motion:
        angles = random_angles(dice)
        return Motion(self.expressions.sample(dice), angles)

    def _camera(self, dice: Dice, vertices, angles, box_scale=BOX_SCALE):
        """Translation and focal length that put the landmarks' box in the middle, at 1 / box_scale of the side."""
        rotation = euler_to_matrix(angles)
        distance = torch.exp(dice.uniform(math.log(NEAREST), math.log(FARTHEST)))
        translation = torch.stack((torch.zeros_like(distance), torch.zeros_like(distance), distance), 1)
        unit = torch.eye(3, device=self.device).expand(dice.count, 3, 3)
        wobble = dice.normal(0, 0.02, 2)
        zoom = torch.exp(dice.normal(0, 0.05))
        for _ in range(3):
            points = self.model.landmarks(project(vertices, rotation, translation, unit), angles)
            low, high = points.amin(1), points.amax(1)
            side = (high - low).amax(1)
            centre = (low + high) / 2 - wobble * side[:, None]
            translation[:, :2] -= centre * translation[:, 2:]
        return rotation, translation, zoom / (box_scale * side)

    def _clip_camera(self, dice: Dice, vertices, angles, frames: int, still: bool):
        """One camera for each clip, that sees its first frame well; in the others the head turns about its neck.

        Also gives the turn (B, 3, 3), in the face frame, that keeps the shoulders where they are.
        """
        first = torch.arange(dice.count, device=self.device) // frames * frames
        rotation, translation, focal = self._camera(dice, vertices[first], angles[first], dice.uniform(1.6, 2.4))
        translation = translation.clone()
        translation[:, 1] += 0.06 * translation[:, 2] / focal  # more hair than chest
        turned = euler_to_matrix(angles)
        neck = vertices.new_tensor(NECK_PIVOT)
        translation = translation + (rotation - turned) @ neck
        if not still:
            drift = Dice(dice.count, dice.generator).normal(0, 1, 3) * dice.uniform(0, 0.012, 1)
            drift[::frames] = 0
            translation += drift
        return turned, translation, focal, turned.transpose(1, 2) @ rotation

    def _lamp(self, dice: Dice) -> Lamp:
        count = dice.count
        white = torch.ones(count, 3, device=self.device)
        tint = white + torch.stack(
            (dice.normal(0, 0.08), torch.zeros(count, device=self.device), dice.normal(0, 0.1)), 1
        )
        ambient = dice.uniform(0.15, 0.9)
        environment = torch.zeros(count, 9, 3, device=self.device)
        environment[:, 0] = (ambient[:, None] * tint) / 0.282095 * 0.6
        environment[:, 1] = (
            -0.25 * (ambient * dice.uniform(0, 1))[:, None] * tint
        )  # the sky above: camera y is down
        for _ in range(2):
            around = F.normalize(dice.normal(0, 1, 3), dim=1)
            fill = dice.uniform(0, 0.5)[:, None] * (1 + dice.normal(0, 0.12, 3))
            environment += directional_light(around, fill.clamp_min(0))
        elevation = dice.normal(28, 22).clamp(-40, 80) * (math.pi / 180)
        azimuth = torch.where(dice.chance(0.25) > 0, dice.uniform(-120, 120), dice.normal(0, 45)) * (
            math.pi / 180
        )
        direction = torch.stack(
            (azimuth.sin() * elevation.cos(), -elevation.sin(), -azimuth.cos() * elevation.cos()), 1
        )
        key = dice.uniform(0.0, 2.0)[:, None] * (1 + torch.stack(
            (dice.uniform(-0.1, 0.2), torch.zeros(count, device=self.device), dice.uniform(-0.2, 0.1)), 1
        ))  # fmt: skip
        # expose for the front of the face
        front = torch.tensor([0.0, 0.0, -1.0], device=self.device).expand(count, 1, 3)
        level = shade(front, environment + directional_light(direction, key)).mean((1, 2)).clamp_min(0.15)
        gain = (dice.uniform(0.5, 1.35) / level)[:, None]
        return Lamp(
            environment * gain[..., None], direction, key * gain, dice.uniform(0.2, 1), dice.uniform(0.4, 3)
        )

    # drawing ------------------------------------------------------------------------------------------------------

    def _draw(
        self, dice: Dice, identity, skins: Skins, looks, motion: Motion, degraded: bool, frames: int = 1,
        still: bool = False,
    ) -> RenderedFaces:  # fmt: skip
        model, size = self.model, self.drawn
        head, neutral = model(identity, motion.expression), model(identity, motion.expression * 0)
        body_turn = None
        if frames > 1:
            rotation, translation, focal, body_turn = self._clip_camera(dice, head, motion.angles, frames, still)
        else:
            rotation, translation, focal = self._camera(dice, head, motion.angles)
        if body_turn is not None:
            head, neutral = model.twist_neck(head, body_turn), model.twist_neck(neutral, body_turn)
        scene = self.props.assemble(dice, head, neutral, skins, looks, body_turn)
        pixels = intrinsics(focal * size, focal.new_full((dice.count, 2), size / 2))
        projected = project(scene.vertices, rotation, translation, pixels)
        fragments = rasterize(projected, scene.triangles, size, size)
        normals = vertex_normals(scene.vertices, scene.triangles) @ rotation.transpose(1, 2)
        lamp = self._lamp(dice)
        if frames > 1 and not still:  # now and then a lamp is moved between frames
            moved, other = dice.chance(0.12) > 0, self._lamp(Dice(dice.count, dice.generator))
            lamp = Lamp(**{name: torch.where(moved.reshape(-1, *[1] * (value.ndim - 1)), getattr(other, name), value)
                           for name, value in vars(lamp).items()})  # fmt: skip
        lit = self._key_visibility(scene, rotation, lamp)

        varying = torch.cat((normals, scene.occlusion[..., None], lit[..., None]), 2)
        pixel = interpolate(fragments, scene.triangles, varying).permute(0, 3, 1, 2)
        uv = interpolate(fragments, scene.triangles_uv, scene.uv)
        surface = F.grid_sample(scene.texture, uv * 2 - 1, padding_mode="border", align_corners=False)
        covered = (fragments.triangle >= 0)[:, None]
        normal = F.normalize(pixel[:, :3], dim=1)
        occlusion = 1 - column(dice.uniform(0.4, 1.0)) * (1 - pixel[:, 3:4])
        colour = self._shade(dice, normal, surface, occlusion, pixel[:, 4:5], lamp)

        part = scene.part[fragments.triangle.clamp_min(0)][:, None]
        is_head = covered & (part <= 1)
        is_skin = covered & (part == 0)
        background = self.backgrounds.sample(dice, size)
        clean = torch.where(covered, linear_to_srgb(colour.clamp(0, 1)), background)

        def shrink(picture):
            if size == self.size:
                return picture
            return F.interpolate(
                picture, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )

        clean = shrink(clean).clamp(0, 1)
        image = degrade(clean, dice.generator) if degraded else clean
        points = model.landmarks(projected[:, : model.config.vertex_count], motion.angles) * (
            self.size / size
        )
        depth = torch.where(is_head[:, 0], fragments.depth, torch.zeros_like(fragments.depth))[:, None]
        return RenderedFaces(
            image=image,
            clean=clean,
            mask=shrink(is_head.float()),
            skin=shrink(is_skin.float()),
            foreground=shrink(covered.float()),
            normal=shrink(normal * is_head),
            depth=shrink(depth),
            identity=identity,
            expression=motion.expression,
            albedo_coefficients=model.albedo_coefficients(
                F.interpolate(skins.albedo, (model.config.texture_size,) * 2, mode="area")
            ),
            angles=motion.angles,
            rotation=rotation,
            translation=translation,
            focal=focal,
            light=lamp.environment + directional_light(lamp.direction, lamp.colour),
            landmarks=points,
            identity_number=torch.zeros(dice.count, dtype=torch.int64, device=self.device),
        )

    def _key_visibility(self, scene, rotation, lamp: Lamp, size: int = 128) -> torch.Tensor:
        """(B, V) share of the key light that reaches each vertex: a shadow map looked up softly."""
        vertices = scene.vertices @ rotation.transpose(1, 2)
        forward = -lamp.direction
        side = F.normalize(torch.linalg.cross(forward, forward.roll(1, 1) + 0.1), dim=1)
        up = torch.linalg.cross(forward, side)
        axes = torch.stack((side, up, forward), 2)
        local = vertices @ axes
        reach = 0.2
        plane = (local[..., :2] / (2 * reach) + 0.5) * size
        drawn = torch.cat((plane, local[..., 2:] + 2.0), 2)
        depth = rasterize(drawn, scene.triangles[scene.casts], size, size).depth
        depth = torch.where(depth.isinf(), torch.full_like(depth, 9.0), depth)[:, None]
        grid = (plane / size * 2 - 1)[:, :, None]
        total = 0
        taps = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
        for dx, dy in taps:
            shift = (
                torch.tensor([dx, dy], device=self.device) * (2 / size) * lamp.softness[:, None, None, None]
            )
            seen = F.grid_sample(depth, grid + shift, padding_mode="border", align_corners=False)[:, 0, :, 0]
            total = total + ((seen - drawn[..., 2] + 0.006) / 0.004).clamp(0, 1)
        return 1 - lamp.shadow[:, None] * (1 - total / len(taps))

    def _shade(self, dice: Dice, normal, surface, occlusion, lit, lamp: Lamp):
        """Linear colour: soft light dimmed by occlusion, key light by its shadow, and a highlight."""
        directions = normal.permute(0, 2, 3, 1)
        soft = shade(directions, lamp.environment).permute(0, 3, 1, 2).clamp_min(0.02)
        cosine = (normal * column(lamp.direction)).sum(1, keepdim=True)
        wrap = 0.1  # light that skin carries past the terminator
        key = ((cosine + wrap) / (1 + wrap)).clamp_min(0) * lit
        albedo, gloss = surface[:, :3], surface[:, 3:4]
        half = F.normalize(lamp.direction - torch.tensor([0.0, 0.0, 1.0], device=self.device), dim=1)
        sharpness = column(dice.uniform(8, 50))
        shine = column(dice.uniform(0, 0.35) * dice.chance(0.75))
        gleam = (
            (normal * column(half)).sum(1, keepdim=True).clamp_min(1e-4) ** sharpness * lit * gloss * shine
        )
        return albedo * (soft * occlusion + key * column(lamp.colour)) + gleam * column(lamp.colour)


def random_angles(dice: Dice) -> torch.Tensor:
    """(B, 3) radians: half of the faces look roughly into the camera, half anywhere up to profiles."""
    yaw = torch.where(dice.chance(0.5) > 0, dice.uniform(-85, 85), dice.normal(0, 18))
    pitch = torch.where(dice.chance(0.35) > 0, dice.uniform(-38, 42), dice.normal(2, 11))
    roll = torch.where(dice.chance(0.25) > 0, dice.normal(0, 22), dice.normal(0, 7))
    return torch.stack((pitch.clamp(-40, 45), yaw, roll.clamp(-50, 50)), 1) * (math.pi / 180)


def contact_sheet(faces: RenderedFaces, columns: int = 8) -> torch.Tensor:
    """Pictures side by side, (3, rows * S, columns * S), landmarks drawn on every third."""
    pictures = faces.image.clone().cpu()
    for index in range(0, len(pictures), 3):
        for x, y in faces.landmarks[index].round().long().tolist():
            pictures[index, :, max(0, y - 1) : y + 1, max(0, x - 1) : x + 1] = torch.tensor([0.0, 1, 0])[
                :, None, None
            ]
    return image_grid(pictures, columns, gap=0)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Draw a contact sheet of rendered faces and measure the speed."
    )
    parser.add_argument("--model", default="hub/rec-aug-net/morphable_model")
    parser.add_argument("--output", type=Path, default=Path("sheet.png"))
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clean", action="store_true", help="leave out blur, noise and compression")
    parser.add_argument("--pictures_per_identity", type=int, default=1)
    parser.add_argument("--identities_per_motion", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.count < 1:
        raise LirecError("--count must be 1 or more.")
    import time

    from PIL import Image

    renderer = SyntheticFaces(load_model(MorphableModel, options.model), options.size, options.device)
    renderer.sample(options.pictures_per_identity * options.identities_per_motion, options.seed)
    start = time.perf_counter()
    faces = renderer.sample(
        options.count,
        options.seed,
        options.pictures_per_identity,
        options.identities_per_motion,
        not options.clean,
    )
    if renderer.device.type == "cuda":
        torch.cuda.synchronize()
    elapsed = time.perf_counter() - start
    sheet = (contact_sheet(faces).permute(1, 2, 0) * 255).byte().numpy()
    Image.fromarray(sheet).save(options.output)
    print(
        f"{options.count / elapsed:.1f} pictures a second on {renderer.device}, written to {options.output}"
    )


if __name__ == "__main__":
    command(main)
