"""Pictures with none to four rendered faces of any size, for the face detector: faces pasted on backgrounds.

Whatever betrays a pasted face (edges, head-shaped outlines, skin colours) is pasted without a face as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lirec.errors import LirecError
from lirec.processing.image import load_image, to_tensor
from train.data.backgrounds import PICTURES, Backgrounds
from train.data.degradations import degrade, jpeg
from train.data.skins import Dice, column
from train.data.synthetic import RenderedFaces, SyntheticFaces

FACE, EMPTY, UNSURE = 1, 0, -1
SLOTS = 4
SMALLEST, UNREADABLE = 18.0, 14.0  # px: the least face drawn, and the least that must be found
MIRRORED = (1, 0, 2, 4, 3)  # the five key points in a mirrored picture


@dataclass
class Scenes:
    """B pictures of S px with up to K faces each.

    Args:
        image: (B, 3, S, S) sRGB in [0, 1].
        boxes: (B, K, 4) x1, y1, x2, y2 px round each face's 68 landmarks, also where they leave the picture.
        keypoints: (B, K, 5, 2) px: eye centres, nose tip, mouth corners, left to right in the picture.
        state: (B, K) FACE, EMPTY, or UNSURE: too small, too far outside or too covered to call it either.
    """

    image: Tensor
    boxes: Tensor
    keypoints: Tensor
    state: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> Scenes:
        return Scenes(
            **{name: value.to(device, non_blocking=non_blocking) for name, value in vars(self).items()}
        )


class FacePool:
    """Rendered faces kept as bytes, to be pasted again and again; `renew` exchanges the oldest."""

    def __init__(self, faces: RenderedFaces):
        self.pixels = _as_bytes(faces)
        self.landmarks = faces.landmarks.float()
        self._oldest = 0

    @classmethod
    def render(cls, renderer: SyntheticFaces, count: int, seed: int, batch_size: int = 8) -> FacePool:
        """Fill a pool with `count` faces."""
        pool = cls(renderer.sample(min(count, batch_size), seed, degraded=False))
        while len(pool) < count:
            seed += 1
            more = renderer.sample(min(count - len(pool), batch_size), seed, degraded=False)
            pool.pixels = torch.cat([pool.pixels, _as_bytes(more)])
            pool.landmarks = torch.cat([pool.landmarks, more.landmarks.float()])
        return pool

    def renew(self, faces: RenderedFaces) -> None:
        rows = (torch.arange(len(faces.image)) + self._oldest) % len(self)
        self.pixels[rows] = _as_bytes(faces)
        self.landmarks[rows] = faces.landmarks.float()
        self._oldest = int(rows[-1] + 1) % len(self)

    def __len__(self) -> int:
        return len(self.pixels)


def _as_bytes(faces: RenderedFaces) -> Tensor:
    """(B, 4, S, S) uint8: sRGB and what is no background."""
    pixels = torch.cat([faces.clean, faces.foreground], 1)
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8)


class Scenery:
    """Backgrounds without faces: parts of whole pictures, as sharp as they are, and `Backgrounds`.

    Args:
        device: where to draw.
        folder: more pictures, without people; they are searched for in its sub-folders too.
        size: px to which pictures are reduced.
    """

    def __init__(self, device: str | torch.device = "cpu", folder: Path | None = None, size: int = 384):
        from skimage import data

        self.soft = Backgrounds(device)
        pictures = [load_image(getattr(data, name)()) for name in PICTURES]
        # Of all these, the cat is most like a face.
        shares = [4.0 if name == "chelsea" else 1.0 for name in PICTURES]
        if folder is not None:
            paths = sorted(
                p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
            )
            if not paths:
                raise LirecError(
                    f"There are no pictures in {folder}: give a folder of .jpg, .png or .webp files."
                )
            pictures += [load_image(path) for path in paths]
            shares += [len(PICTURES) / len(paths)] * len(paths)
        self.shares = shares
        bank = torch.cat([_square(to_tensor(picture), size) for picture in pictures])
        self.bank = (bank * 255).round().to(torch.uint8).to(device)

    def sample(self, dice: Dice, size: int, sharp: float = 0.5) -> Tensor:
        """(B, 3, size, size) sRGB in [0, 1]; `sharp` of them are parts of whole pictures."""
        is_sharp = dice.chance(sharp) > 0
        result = torch.empty(dice.count, 3, size, size, device=dice.device)
        for rows, draw in ((is_sharp, self._cut), (~is_sharp, self.soft.sample)):
            if rows.any():
                result[rows] = draw(Dice(int(rows.sum()), dice.generator), size)
        return result

    def _cut(self, dice: Dice, size: int) -> Tensor:
        """Parts of pictures, a quarter of them wide or more."""
        picture, turn = dice.choice(self.shares), dice.normal(0, 0.2)
        edge = self.bank.shape[-1]
        part = 0.25 ** dice.uniform() * edge / size
        flip = 1 - 2 * dice.chance(0.5)
        room = (edge - part * size)[:, None]
        middle = edge / 2 + room * (dice.uniform(0, 1, 2) - 0.5)
        linear = _turn(turn) * torch.stack([part * flip, part], 1)[:, None]
        offset = middle - (linear @ linear.new_full((2, 1), size / 2))[..., 0]
        cut = _look_up(self.bank[picture], linear, offset, size, padding="reflection")
        return (cut * column(1 + dice.normal(0, 0.12, 3))).clamp(0, 1)


def compose_scenes(pool: FacePool, scenery: Scenery, count: int, seed: int, size: int = 192) -> Scenes:
    """Draw `count` pictures; the same pool and seed give the same pictures."""
    device = pool.pixels.device
    dice = Dice(count, torch.Generator(device).manual_seed(seed))
    image = scenery.sample(dice, size)
    number = dice.choice([0.15, 0.45, 0.2, 0.1, 0.1])
    portrait = (number == 1) & (dice.chance(0.35) > 0)  # one face, whose own picture is the background
    boxes = image.new_zeros(count, SLOTS, 4)
    keypoints = image.new_zeros(count, SLOTS, 5, 2)
    state = torch.full((count, SLOTS), EMPTY, device=device)
    for slot in range(SLOTS):
        decoy = (dice.chance(0.12) > 0) & ~portrait
        drawn = (number > slot) | decoy
        rows = torch.randint(len(pool), (count,), generator=dice.generator, device=device)
        landmarks = pool.landmarks[rows]
        anchor = _box(landmarks).unflatten(1, (2, 2)).mean(1)
        linear, middle, mirrored = _place(dice, landmarks, number, portrait, boxes, size)
        points = (landmarks - anchor[:, None]) @ linear.mT + middle[:, None]
        box = _box(points) * drawn[:, None]

        hidden = _shared_area(boxes, box[:, None]) > 0.45 * _area(boxes)
        state = torch.where(hidden & (state == FACE), UNSURE, state)
        boxes[:, slot], keypoints[:, slot] = box, _five(points, mirrored)
        state[:, slot] = torch.where(drawn & ~decoy, _state(box, size), EMPTY)

        chosen = torch.nonzero(drawn).flatten()
        if len(chosen) == 0:
            continue
        patch = pool.pixels[rows[chosen]].float() / 255
        spoiled = torch.nonzero(decoy[chosen]).flatten()
        if len(spoiled):
            patch[spoiled] = _without_face(patch[spoiled], scenery, dice.generator)
        alpha = _outline(patch[:, 3:], portrait[chosen], dice.generator)
        inverse = torch.linalg.inv(linear[chosen])
        offset = anchor[chosen] - (inverse @ middle[chosen][..., None])[..., 0]
        layer = torch.cat([patch[:, :3] * alpha, alpha], 1)
        layer = _look_up(layer, inverse, offset, size, "border", endless=portrait[chosen])
        image[chosen] = layer[:, :3] + (1 - layer[:, 3:]) * image[chosen]
    return Scenes(_photograph(image.clamp(0, 1), boxes, state, dice), boxes, keypoints, state)


def _place(dice: Dice, landmarks: Tensor, number: Tensor, portrait: Tensor, boxes: Tensor, size: int):
    """Where the next face goes: its map (B, 2, 2), its middle (B, 2) px, whether it is mirrored (B,)."""
    most = size * torch.where(number == 1, 1.0, torch.where(number == 2, 0.6, 0.4))
    edge = SMALLEST * (most / SMALLEST) ** dice.uniform()
    edge = torch.where(portrait, size * dice.uniform(0.5, 1.15), edge)
    mirrored = dice.chance(0.5) > 0
    roll = torch.where(dice.chance(0.15) > 0, dice.uniform(-0.8, 0.8), dice.normal(0, 0.12))
    stretch = torch.exp(dice.normal(0, 0.04))
    box = _box(landmarks)
    scale = edge / (box[:, 2:] - box[:, :2]).amax(1)
    diagonal = torch.stack([scale * stretch * torch.where(mirrored, -1.0, 1.0), scale / stretch], 1)
    linear = _turn(roll) * diagonal[:, None]

    # Mostly inside the picture; of a few places the one that covers the least of the faces before.
    margin = (edge * torch.where(dice.chance(0.85) > 0, 0.5, 0.0)).clamp_max(size / 2)
    margin = torch.where(portrait, 0.35 * size, margin)
    places = dice.uniform(0, 1, 6, 2) * (size - 2 * margin)[:, None, None] + margin[:, None, None]
    reach = edge[:, None, None] / 2
    covered = _shared_area(torch.cat([places - reach, places + reach], -1)[:, :, None], boxes[:, None]).sum(2)
    middle = places[torch.arange(dice.count, device=places.device), covered.argmin(1)]
    return linear, middle, mirrored


def _outline(foreground: Tensor, portrait: Tensor, generator: torch.Generator) -> Tensor:
    """How much of each patch shows, (B, 1, S, S): the person, hard or fading at the rim, or all of it."""
    dice = Dice(len(foreground), generator)
    axis = torch.linspace(-1, 1, foreground.shape[-1], device=foreground.device)
    to_rim = (1 - axis.abs()).view(1, -1).minimum((1 - axis.abs()).view(-1, 1))
    fading = (to_rim / column(dice.uniform(0.1, 0.4))).clamp(0, 1)
    disc = (
        (1 - (axis.view(1, -1) ** 2 + axis.view(-1, 1) ** 2).sqrt()) / column(dice.uniform(0.02, 0.3))
    ).clamp(0, 1)
    kind = column(dice.choice([0.4, 0.3, 0.2, 0.1]))
    shape = torch.where(kind == 0, foreground, foreground * fading)
    shape = torch.where(kind == 2, torch.ones_like(shape), torch.where(kind == 3, disc, shape))
    return torch.where(column(portrait), torch.ones_like(shape), shape)


def _without_face(patch: Tensor, scenery: Scenery, generator: torch.Generator) -> Tensor:
    """Patches (B, 4, S, S) whose colours are still those of a head, but which show no face."""
    dice = Dice(len(patch), generator)
    count, _, size, _ = patch.shape
    kind = column(dice.choice([0.35, 0.25, 0.2, 0.2]))
    blocks = 6
    edge = size // blocks
    cells = patch[..., : blocks * edge, : blocks * edge]
    cells = cells.unflatten(3, (blocks, edge)).unflatten(2, (blocks, edge)).transpose(3, 4).flatten(2, 3)
    order = torch.randperm(blocks * blocks, generator=generator, device=patch.device)
    shuffled = cells[:, :, order].unflatten(2, (blocks, blocks)).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    shuffled = F.interpolate(shuffled, (size, size))
    blurred = F.interpolate(
        F.adaptive_avg_pool2d(patch, 5), (size, size), mode="bilinear", align_corners=False
    )
    upper = patch[:, :, : size - size // 2]
    doubled = torch.cat([upper, upper.flip(2)[:, :, size % 2 :]], 2)
    texture = scenery.sample(Dice(count, generator), size, sharp=1.0)
    colour = torch.where(kind == 0, shuffled, torch.where(kind == 1, blurred, doubled))[:, :3]
    return torch.cat([torch.where(kind == 3, texture, colour).clamp(0, 1), patch[:, 3:]], 1)


def _photograph(image: Tensor, boxes: Tensor, state: Tensor, dice: Dice) -> Tensor:
    """Losses of quality, heavy ones only where every face stays readable."""
    edges = (boxes[..., 2:] - boxes[..., :2]).amax(2)
    smallest = torch.where(state == FACE, edges, math.inf).amin(1)
    heavy = torch.nonzero((smallest > 64) & (dice.chance(0.6) > 0)).flatten()
    grey = image.mean(1, keepdim=True)
    saturation = torch.where(dice.chance(0.15) > 0, 0.0, dice.uniform(0.4, 1.4))
    image = grey + (image - grey) * column(saturation)
    image = (image - 0.5) * column(dice.uniform(0.6, 1.3)) + 0.5 + column(dice.normal(0, 0.08))
    noise = torch.randn(image.shape, generator=dice.generator, device=image.device)
    image = (image + noise * column(dice.uniform(0, 0.04) * dice.chance(0.5))).clamp(0, 1)
    compressed = torch.nonzero(dice.chance(0.4)).flatten()
    if len(compressed):
        image[compressed] = jpeg(image[compressed], dice.uniform(40, 95)[compressed])
    if len(heavy):
        image[heavy] = degrade(image[heavy], dice.generator)
    return image


def _state(box: Tensor, size: int) -> Tensor:
    middle = (box[:, :2] + box[:, 2:]) / 2
    inside = (middle > 0).all(1) & (middle < size).all(1)
    inside &= _area(box.clamp(0, size)) > 0.5 * _area(box)
    readable = (box[:, 2:] - box[:, :2]).amax(1) >= UNREADABLE
    return torch.where(inside & readable, FACE, UNSURE)


def _five(points: Tensor, mirrored: Tensor) -> Tensor:
    """Key points (B, 5, 2) of iBUG-68 landmarks (B, 68, 2)."""
    eyes = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    five = torch.stack([*eyes, points[:, 30], points[:, 48], points[:, 54]], 1)
    return torch.where(mirrored[:, None, None], five[:, MIRRORED], five)


def _box(points: Tensor) -> Tensor:
    return torch.cat([points.amin(1), points.amax(1)], 1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)


def _shared_area(a: Tensor, b: Tensor) -> Tensor:
    return (
        (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    )


def _turn(angle: Tensor) -> Tensor:
    """(B,) radians, counter-clockwise in the picture -> (B, 2, 2)."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, sin, -sin, cos], 1).unflatten(1, (2, 2))


def _square(picture: Tensor, size: int) -> Tensor:
    """The middle square of (1, 3, H, W), scaled to `size`."""
    height, width = picture.shape[2:]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    cut = picture[:, :, top : top + edge, left : left + edge]
    return F.interpolate(cut, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def _look_up(
    source: Tensor, linear: Tensor, offset: Tensor, size: int, padding: str, endless: Tensor | None = None
) -> Tensor:
    """Sample `source` (B, C, S, S), bytes or floats, at `linear @ q + offset` px for each pixel q wanted.

    What is to be shrunk is averaged before, by halves. Beyond its rim there is nothing, but where `endless`.
    """
    edge = source.shape[-1]
    level = torch.linalg.det(linear).abs().sqrt().log2().round().long().clamp(0, 5)
    # from pixels to grid_sample's -1 .. 1; written out, as affine_grid is slow on a CPU
    pixels = torch.arange(size, device=linear.device) + 0.5
    across, down = linear[:, :, 0, None, None] * pixels, linear[:, :, 1, None, None] * pixels[:, None]
    grid = ((across + down + offset[..., None, None]) * (2 / edge) - 1).permute(0, 2, 3, 1)
    result = source.new_empty(len(source), source.shape[1], size, size, dtype=torch.float32)
    for step in level.unique().tolist():
        rows = torch.nonzero(level == step).flatten()
        part = source[rows].float()
        if source.dtype == torch.uint8:
            part = part / 255
        if step:
            part = F.avg_pool2d(part, 2**step, ceil_mode=True, count_include_pad=False)
        result[rows] = F.grid_sample(part, grid[rows], padding_mode=padding, align_corners=False)
    if endless is not None:
        within = (grid.abs() <= 1).all(-1) | endless[:, None, None]
        result = result * within[:, None]
    return result
