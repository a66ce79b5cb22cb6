"""Procedural skins: painted albedo textures for the morphable model's atlas, batched on CPU or CUDA.

Marks of a face (brows, lips, lashes, wrinkles, beards) are painted through fields that are computed once: the
distance of each texel to a curve on the mean face, and where along the curve it lies, in metres. A skin is then
a few hundred random numbers.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree
from skimage.measure import points_in_poly

from lirec.geometry.lighting import srgb_to_linear
from lirec.geometry.rasterizer import interpolate, rasterize
from lirec.models.morphable_model import AXIS_Z, EYE_LIMIT, ISLANDS, SKIN_BOTTOM, MorphableModel, mirrored_skin

HAIR_COLOURS = (  # sRGB, share
    ((22, 18, 16), 0.30),
    ((45, 32, 25), 0.26),
    ((85, 60, 42), 0.14),
    ((150, 118, 80), 0.09),
    ((200, 170, 122), 0.05),
    ((145, 143, 140), 0.08),
    ((205, 203, 200), 0.05),
    ((115, 60, 34), 0.03),
)
IRIS_COLOURS = (
    ((62, 38, 24), 0.4),
    ((40, 25, 17), 0.25),
    ((95, 115, 140), 0.12),
    ((98, 112, 84), 0.08),
    ((112, 84, 50), 0.1),
    ((120, 126, 130), 0.05),
)


def linear(colour) -> torch.Tensor:
    return srgb_to_linear(torch.as_tensor(colour, dtype=torch.float32) / 255)


class Dice:
    """Random numbers for a batch of `count` rows, all from one generator; `repeats` neighbours get the same."""

    def __init__(self, count: int, generator: torch.Generator, repeats: int = 1):
        self.count, self.repeats = count, repeats
        self.generator, self.device = generator, generator.device

    def _draw(self, sampler, *shape: int) -> torch.Tensor:
        values = sampler(self.count // self.repeats, *shape, generator=self.generator, device=self.device)
        return values.repeat_interleave(self.repeats, 0) if self.repeats > 1 else values

    def uniform(self, low: float = 0.0, high: float = 1.0, *shape: int) -> torch.Tensor:
        return low + (high - low) * self._draw(torch.rand, *shape)

    def normal(self, mean: float = 0.0, deviation: float = 1.0, *shape: int) -> torch.Tensor:
        return mean + deviation * self._draw(torch.randn, *shape)

    def chance(self, probability) -> torch.Tensor:
        """1.0 with the given probability, else 0.0."""
        return (self.uniform() < probability).float()

    def choice(self, weights) -> torch.Tensor:
        weights = torch.tensor(weights, device=self.device)
        chosen = torch.multinomial(
            weights, self.count // self.repeats, replacement=True, generator=self.generator
        )
        return chosen.repeat_interleave(self.repeats, 0)

    def palette(self, colours) -> torch.Tensor:
        """Linear RGB (B, 3) out of ((sRGB, share), ...)."""
        table = torch.stack([linear(colour) for colour, _ in colours]).to(self.device)
        return table[self.choice([share for _, share in colours])]

    def noise(self, height: int, width: int, scale_y: float, scale_x: float) -> torch.Tensor:
        """Smooth noise (B, 1, height, width) of about unit variance with the given feature size in texels."""
        grid = (max(2, round(height / scale_y)), max(2, round(width / scale_x)))
        coarse = self.normal(0, 1, 1, *grid)
        return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False) * 1.4


def column(values: torch.Tensor) -> torch.Tensor:
    """(B,) or (B, C) to something that multiplies (B, C, H, W)."""
    return values.reshape(len(values), -1, 1, 1)


@dataclass
class Skins:
    """
    A batch of painted skins.

    Attributes:
        albedo (`(B, 3, S, S)`): linear RGB, without beard and head hair: what the albedo modes describe.
        bearded (`(B, 3, S, S)`): the same with the beard.
        gloss (`(B, 1, S, S)`): how much of a highlight each texel shows.
        hair_colour (`(B, 3)`): linear RGB.
        feminine (`(B,)`): 1 where no beard was drawn and make-up is likely.
        tone (`(B, 3)`): linear RGB of the plain skin, for hands.
    """

    albedo: torch.Tensor
    bearded: torch.Tensor
    gloss: torch.Tensor
    hair_colour: torch.Tensor
    feminine: torch.Tensor
    tone: torch.Tensor


class SkinPainter:
    """Paints skins of `size` x `size` texels for a morphable model."""

    def __init__(self, model: MorphableModel, size: int = 256, device: str | torch.device = "cpu"):
        self.size, self.device = size, torch.device(device)
        self.rows = round(SKIN_BOTTOM * size)  # rows that hold skin
        mean = model.mean_vertices.detach().float().cpu()
        self.position = self._positions(model, mean)  # (rows, S, 3)
        self.points = mean[model.landmark_vertices.cpu()].numpy().astype(np.float64)
        self._tree = cKDTree(self.position.reshape(-1, 3))
        self.front = self.position[..., 2] > -0.06
        self.fields = {}
        self._curves()
        self._areas()

    def _positions(self, model, mean):
        """Position on the mean face of each texel, by drawing the mesh in texture space, outermost on top."""
        size, inner = self.size, model.select_triangles("mouth_cavity", "eye_cavity", "tongue", "teeth_upper")
        inner |= model.select_triangles("teeth_lower", "eye_left", "eye_right")
        keep = (~inner).cpu()
        triangles, triangles_uv = model.triangles.cpu()[keep], model.triangles_uv.cpu()[keep]
        corners = mean[triangles].reshape(-1, 3)
        uv = model.uv.float().cpu()[triangles_uv].reshape(-1, 2) * size
        radius = torch.hypot(corners[:, 0], corners[:, 2] - AXIS_Z)
        flat = torch.arange(len(corners)).reshape(-1, 3)
        drawn = torch.cat((uv, 1 - radius[:, None]), 1)[None]
        fragments = rasterize(drawn, flat, size, size)
        position = interpolate(fragments, flat, corners[None])[0].numpy()[: self.rows]
        on_ear = model.select_triangles("ear").cpu()[keep][fragments.triangle[0].clamp_min(0)]
        self.ear = on_ear[: self.rows].float().to(self.device)
        empty = (fragments.triangle[0] < 0).numpy()[: self.rows]
        _, nearest = cKDTree(np.argwhere(~empty)).query(np.argwhere(empty))
        position[empty] = position[~empty][nearest]
        return position

    # fields ---------------------------------------------------------------------------------------------------

    def _curve(self, points, samples: int = 160):
        """Distance (signed, positive above), parameter in [0, 1] and depth-aware nearness of each texel."""
        points = np.asarray(points, np.float64)
        if points.shape[1] == 2:  # put it on the surface
            plane = self.position.reshape(-1, 3)
            plane = plane[plane[:, 2] > -0.08]
            _, index = cKDTree(plane[:, :2]).query(points)
            points = np.c_[points, plane[index, 2]]
        knots = np.linspace(0, 1, len(points))
        dense = CubicSpline(knots, points)(np.linspace(0, 1, samples))
        texels = self.position.reshape(-1, 3)
        distance, index = cKDTree(dense).query(texels)
        above = np.sign(texels[:, 1] - dense[index, 1])
        shape = self.position.shape[:2]
        return (distance * above).reshape(shape), (index / (samples - 1)).reshape(shape)

    def _store(self, name, distance, along=None, reach: float = 0.02):
        """Keep a field with the box of rows and columns that it can touch."""
        near = np.abs(distance) < reach
        rows, columns = np.where(near.any(1))[0], np.where(near.any(0))[0]
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        data = np.stack((distance, np.zeros_like(distance) if along is None else along))[:, *box]
        self.fields[name] = (box, torch.as_tensor(data, dtype=torch.float32, device=self.device))

    def _pair(self, name, right_points, reach=0.02):
        for side, sign in (("right", 1), ("left", -1)):
            points = np.asarray(right_points) * (
                [sign, 1, 1] if np.shape(right_points)[1] == 3 else [sign, 1]
            )
            self._store(f"{name}_{side}", *self._curve(points), reach=reach)

    def _curves(self):
        p = self.points
        mm = 0.001
        self._pair("brow", p[17:22], reach=0.016)
        self._pair("lash", p[36:40], reach=0.012)
        self._pair("lower_lid", p[[36, 41, 40, 39]], reach=0.012)
        self._pair("crease", p[36:40] + np.array([0, 3.4, 0]) * mm, reach=0.012)
        self._pair("bag", p[[36, 41, 40, 39]] + np.array([0, -6.0, 0]) * mm, reach=0.02)
        alar, corner = p[31][:2], p[48][:2]
        fold = [
            alar + [-4 * mm, 4 * mm],
            0.5 * (alar + corner) + [-8 * mm, 2 * mm],
            corner + [-8 * mm, 0],
            corner + [-9 * mm, -13 * mm],
        ]
        self._pair("fold", fold, reach=0.02)
        temple = p[36][:2]
        for k, (dx, dy, rise) in enumerate(((-9, 3, 6), (-10, 0, 1), (-9, -3, -5))):
            start = temple + [dx * mm * 0.7, dy * mm]
            self._pair(
                f"crow_{k}", [start, start + [-5 * mm, rise * 0.4 * mm], start + [-10 * mm, rise * mm]]
            )
        self._pair("glabella", [[-4 * mm, 4 * mm], [-5.5 * mm, 11 * mm], [-5 * mm, 18 * mm]])
        self._store("mouth_line", *self._curve(p[[48, 60, 61, 62, 63, 64, 54]]), reach=0.01)
        for k, height in enumerate((34, 42, 51, 60)):
            arc = [[x * mm, (height - 0.004 * x * x) * mm] for x in (-38, -20, 0, 20, 38)]
            self._store(f"forehead_{k}", *self._curve(arc), reach=0.012)

    def _inside(self, outline, samples: int = 200):
        """Signed distance to a closed outline in the frontal plane, positive inside, far behind on the back."""
        outline = np.asarray(outline)[:, :2]
        closed = np.concatenate((outline, outline[:1]))
        dense = CubicSpline(np.linspace(0, 1, len(closed)), closed, bc_type="periodic")(
            np.linspace(0, 1, samples)
        )
        plane = self.position[..., :2].reshape(-1, 2)
        distance, _ = cKDTree(dense).query(plane)
        inside = points_in_poly(plane, dense)
        signed = np.where(inside, distance, -distance).reshape(self.position.shape[:2])
        return np.where(self.front, signed, -1.0)

    def _areas(self):
        p, mm = self.points, 0.001

        def keep_area(name, distance):
            self._store(name, np.where(distance > -0.02, -distance, 1.0), reach=0.02 + np.max(distance))
            self.fields[name][1][0].neg_()

        keep_area("lips", self._inside(p[48:60]))
        keep_area(
            "moustache",
            self._inside(
                [p[48], p[31] + [-2 * mm, -3 * mm, 0], p[33], p[35] + [2 * mm, -3 * mm, 0], p[54], p[51]]
            ),
        )
        low = np.array([0, -12 * mm, 0])
        keep_area(
            "goatee",
            self._inside(
                [p[48] + [-3 * mm, 0, 0], p[31] + [0, -4 * mm, 0], p[33], p[35] + [0, -4 * mm, 0],
                 p[54] + [3 * mm, 0, 0], p[10] + [-14 * mm, 0, 0], p[8] + low, p[6] + [14 * mm, 0, 0]]
            ),
        )  # fmt: skip
        # the full beard goes round to the side-burns, so it is measured in angle and height
        angle = np.arctan2(self.position[..., 0], self.position[..., 2] - AXIS_Z)
        height = self.position[..., 1]
        top = np.interp(
            np.abs(angle),
            [0, 0.12, 0.3, 0.55, 0.9, 1.2, 1.35, 1.5, np.pi],
            [
                p[33, 1] - 0.002,
                p[33, 1] - 0.004,
                p[48, 1] + 0.006,
                p[48, 1] - 0.004,
                -0.062,
                -0.03,
                0.0,
                -0.08,
                -0.2,
            ],
        )
        beard = np.minimum(top - height, 0.03)
        keep_area("beard", np.minimum(beard, (height - (p[8, 1] - 0.03)) + 0.02))
        self.angle = torch.as_tensor(angle, dtype=torch.float32, device=self.device)
        self.height = torch.as_tensor(height, dtype=torch.float32, device=self.device)
        spots = {
            "cheek": ((p[41] + p[31] + p[48]) / 3 + [-12 * mm, 0, 0], 0.016),
            "socket": (p[36:42].mean(0) + [0, 3 * mm, 0], 0.014),
            "nostril": (p[32] + [-1.5 * mm, 1.5 * mm, 0], 0.0032),
        }
        flat = self.position.reshape(-1, 3)
        for name, (centre, radius) in spots.items():
            value = np.zeros(self.position.shape[:2])
            for sign in (1, -1):
                _, nearest = self._tree.query(centre * [sign, 1, 1])
                distance = np.linalg.norm(flat - flat[nearest], axis=1).reshape(value.shape)
                value += np.exp(-((distance / radius) ** 2))
            self._spot(name, value)
        for name, centre, radius in (
            ("nose", p[30], 0.013),
            ("brow_bone", p[27] + [0, 0.035, 0], 0.035),
            ("chin", p[8], 0.02),
        ):
            _, nearest = self._tree.query(centre)
            distance = np.linalg.norm(flat - flat[nearest], axis=1).reshape(self.position.shape[:2])
            self._spot(name, np.exp(-((distance / radius) ** 2)))

    def _spot(self, name, value):
        rows, columns = np.where((value > 0.02).any(1))[0], np.where((value > 0.02).any(0))[0]
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        self.fields[name] = (box, torch.as_tensor(value[box], dtype=torch.float32, device=self.device))

    # painting -------------------------------------------------------------------------------------------------

    def _tint(self, canvas, box, mask, factor):
        """Multiply by `factor` (B, 3) where the mask (B or 1, 1, h, w) is 1."""
        view = canvas[:, :, box[0], box[1]]
        view.mul_(1 + mask * (column(factor) - 1))

    def _cover(self, canvas, box, mask, colour):
        view = canvas[:, :, box[0], box[1]]
        view.add_(mask * (column(colour) - view))

    def _line(self, name, width, softness):
        """Mask (B, 1, h, w) of a line of half `width` (B,) metres round a curve field."""
        box, field = self.fields[name]
        return box, torch.sigmoid((column(width) - field[0].abs()) / column(softness))

    def sample(self, count: int, generator: torch.Generator) -> Skins:
        """Paint `count` skins; `generator` must live on the painter's device."""
        dice = Dice(count, generator)
        size, rows = self.size, self.rows
        texel = size / 256
        dark, middle, light = (torch.tensor(c, device=self.device) for c in
                               ((56.0, 35, 26), (165.0, 115, 88), (238.0, 203, 186)))  # fmt: skip
        shade = dice.uniform()[:, None] * 0.3 + 0.7 * dice.uniform()[:, None] ** 0.7
        tone = torch.where(
            shade < 0.5, dark + (middle - dark) * shade * 2, middle + (light - middle) * (shade * 2 - 1)
        )
        tone = tone * torch.cat(
            (
                torch.ones(count, 1, device=self.device),
                dice.uniform(0.94, 1.06, 1),
                dice.uniform(0.88, 1.1, 1),
            ),
            1,
        )
        tone = srgb_to_linear((tone / 255).clamp(0, 1))
        feminine = dice.chance(0.5)
        age = dice.uniform() ** 1.5

        skin = column(tone).expand(count, 3, rows, size).clone()
        grain = column(dice.uniform(0.02, 0.10)) * dice.noise(rows, size, 40 * texel, 40 * texel)
        grain = grain + column(dice.uniform(0.01, 0.09)) * dice.noise(rows, size, 10 * texel, 10 * texel)
        fine = dice.noise(rows, size, 2.2, 2.2)
        grain = grain + column(dice.uniform(0.005, 0.06)) * fine
        skin *= 1 + grain
        gloss = 0.5 * (1 + 0.25 * fine)

        def tinted(name, factor, strength):
            box, value = self.fields[name]
            self._tint(skin, box, value * column(strength), factor)

        red = torch.stack((dice.uniform(1.0, 1.1), dice.uniform(0.72, 0.85), dice.uniform(0.72, 0.85)), 1)
        tinted("cheek", red, dice.uniform(0, 1.0))
        tinted("nose", red, dice.uniform(0, 0.9))
        tinted("chin", red, dice.uniform(0, 0.5))
        tinted("socket", dice.uniform(0.66, 0.85, 3), dice.uniform(0, 0.9))
        shadow = torch.tensor([0.8, 0.82, 0.9], device=self.device).expand(count, 3)
        box, field = self.fields["beard"]  # shaved beards still show
        self._tint(
            skin, box, torch.sigmoid(field[0] / 0.006) * column((1 - feminine) * dice.uniform(0, 0.8)), shadow
        )

        freckles = (dice.noise(rows, size, 3.0 * texel, 3.0 * texel) - column(dice.uniform(1.2, 2.4))).clamp(
            0, 1
        )
        spotted = column(dice.chance(0.25) * dice.uniform(0.2, 1.0))
        skin *= 1 - 0.5 * freckles * spotted * torch.tensor([0.7, 1.0, 1.1], device=self.device).reshape(
            1, 3, 1, 1
        )

        self._wrinkles(dice, skin, age)
        self._eyes_surround(dice, skin, feminine)
        self._lips(dice, skin, gloss, feminine)

        hair = dice.palette(HAIR_COLOURS) * dice.uniform(0.7, 1.3, 3).mean(1, keepdim=True)
        hair = hair * (1 + 0.08 * dice.normal(0, 1, 3))
        self._brows(dice, skin, hair, feminine)
        gloss[:, :, self.fields["nose"][0][0], self.fields["nose"][0][1]] += 0.4 * self.fields["nose"][1]

        canvas = torch.zeros(count, 3, size, size, device=self.device)
        canvas[:, :, :rows] = skin.clamp(0.004, 1)
        full_gloss = torch.full((count, 1, size, size), 0.3, device=self.device)
        full_gloss[:, :, :rows] = gloss.clamp(0, 2)
        self._inner_parts(dice, canvas, full_gloss)
        bearded = self._beard(dice, canvas, hair, feminine)
        return Skins(canvas, bearded, full_gloss, hair, feminine, tone)

    def _wrinkles(self, dice, skin, age):
        count = dice.count
        dark = torch.stack((dice.uniform(0.5, 0.7), dice.uniform(0.4, 0.6), dice.uniform(0.38, 0.58)), 1)
        fold = dice.uniform(0.1, 0.8) * (0.3 + 0.7 * age)
        for side in ("left", "right"):
            box, mask = self._line(f"fold_{side}", dice.uniform(0.0002, 0.0012), dice.uniform(0.0005, 0.0018))
            self._tint(skin, box, mask * column(fold), dark)
        lined = dice.chance(0.2 + 0.6 * age)
        for k in range(4):
            box, mask = self._line(f"forehead_{k}", dice.uniform(0, 0.0006), dice.uniform(0.0004, 0.001))
            wave = (
                0.6 + 0.4 * torch.sin(self.fields[f"forehead_{k}"][1][1] * column(dice.uniform(6, 20)))
            ).clamp(0, 1)
            self._tint(
                skin, box, mask * wave * column(lined * dice.uniform(0, 0.7) * (0.3 + 0.7 * age)), dark
            )
        crow = dice.chance(0.15 + 0.7 * age) * dice.uniform(0.1, 0.6)
        frown = dice.chance(0.3) * dice.uniform(0.1, 0.7)
        for side in ("left", "right"):
            for k in range(3):
                box, mask = self._line(
                    f"crow_{k}_{side}", torch.zeros(count, device=dice.device), dice.uniform(0.0004, 0.0009)
                )
                self._tint(skin, box, mask * column(crow), dark)
            box, mask = self._line(
                f"glabella_{side}", torch.zeros(count, device=dice.device), dice.uniform(0.0005, 0.001)
            )
            self._tint(skin, box, mask * column(frown), dark)

    def _eyes_surround(self, dice, skin, feminine):
        bag, crease = dice.uniform(0, 0.9), dice.uniform(0.1, 0.9)
        lash = dice.uniform(0.3, 0.9) * (1 - feminine) + feminine * dice.uniform(0.6, 1.0)
        lower = dice.uniform(0, 0.7)
        powder = feminine * dice.chance(0.5) * dice.uniform(0.1, 0.8)
        powder_colour = dice.uniform(0.25, 0.9, 3)
        brown = torch.tensor([0.7, 0.64, 0.66], device=dice.device).expand(dice.count, 3)
        line = torch.tensor([0.45, 0.38, 0.36], device=dice.device).expand(dice.count, 3)
        black = torch.tensor([0.08, 0.07, 0.07], device=dice.device).expand(dice.count, 3)
        softness, lash_width = dice.uniform(0.0004, 0.0009), dice.uniform(0.0002, 0.0014)
        for side in ("left", "right"):
            box, field = self.fields[f"bag_{side}"]
            self._tint(skin, box, torch.exp(-((field[0] / 0.004) ** 2)) * column(bag), brown)
            box, mask = self._line(f"crease_{side}", dice.uniform(0.0001, 0.0006), softness)
            self._tint(skin, box, mask * column(crease), line)
            box, field = self.fields[f"crease_{side}"]
            self._tint(skin, box, torch.exp(-((field[0] / 0.004) ** 2)) * column(powder), powder_colour)
            box, mask = self._line(f"lower_lid_{side}", lash_width * 0.5, softness)
            self._tint(skin, box, mask * column(lower), line)
            box, mask = self._line(f"lash_{side}", lash_width, softness)
            self._tint(skin, box, mask * column(lash), black)

    def _lips(self, dice, skin, gloss, feminine):
        box, field = self.fields["lips"]
        mask = torch.sigmoid(field[0] / 0.0007) * (field[0] > -0.01)
        painted = feminine * dice.chance(0.5)
        natural = torch.stack((dice.uniform(0.72, 1.02), dice.uniform(0.48, 0.8), dice.uniform(0.5, 0.85)), 1)
        self._tint(skin, box, mask * column((1 - painted) * dice.uniform(0.5, 1)), natural)
        rouge = torch.stack((dice.uniform(0.15, 0.6), dice.uniform(0.01, 0.13), dice.uniform(0.02, 0.16)), 1)
        self._cover(skin, box, mask * column(painted * dice.uniform(0.3, 0.9)), rouge)
        gloss[:, :, box[0], box[1]] += mask * column(dice.uniform(0.1, 0.9))
        box, line = self._line("mouth_line", dice.uniform(0.0, 0.0006), dice.uniform(0.0004, 0.0008))
        dark = torch.tensor([0.35, 0.22, 0.22], device=dice.device).expand(dice.count, 3)
        self._tint(skin, box, line * column(dice.uniform(0.2, 1)), dark)
        box, nostril = self.fields["nostril"]
        black = torch.tensor([0.2, 0.13, 0.12], device=dice.device).expand(dice.count, 3)
        self._tint(skin, box, nostril * column(dice.uniform(0.3, 1)), black)

    def _brows(self, dice, skin, hair, feminine):
        colour = hair * dice.uniform(0.25, 0.9)[:, None]
        opacity = dice.uniform(0.3, 1.0) * (1 - 0.75 * dice.chance(0.06))
        thickness = torch.where(feminine > 0, dice.uniform(0.0012, 0.0036), dice.uniform(0.002, 0.005))
        lift, arch = dice.normal(0.0004, 0.0012), dice.normal(0, 0.0012)
        tip, tail, start = dice.uniform(0.2, 0.7), dice.uniform(0.1, 0.5), dice.uniform(-0.05, 0.1)
        softness = dice.uniform(0.0004, 0.0012)
        ragged = dice.uniform(0.1, 0.5)
        for side in ("left", "right"):
            box, field = self.fields[f"brow_{side}"]
            distance, along = field  # along: 0 at the temple
            texture = dice.noise(*distance.shape, 1.5, 3.0)
            profile = torch.minimum(column(tail) + (1 - column(tail)) * along / 0.45, torch.ones_like(along))
            profile = profile * (1 - column(tip) * ((along - 0.85) / 0.15).clamp(0, 1))
            offset = distance - column(lift) - column(arch) * torch.sin(torch.pi * along)
            mask = torch.sigmoid((column(thickness) * profile - offset.abs()) / column(softness))
            ends = ((along - column(start)) / 0.05).clamp(0, 1)
            mask = (mask * ends * (1 + column(ragged) * texture)).clamp(0, 1) * column(opacity)
            self._cover(skin, box, mask, colour)

    def _beard(self, dice, canvas, hair, feminine):
        """A copy of the canvas with stubble, moustache, goatee or a full beard on some."""
        bearded = canvas.clone()
        kind = dice.choice([0.36, 0.26, 0.14, 0.12, 0.12])  # none, stubble, full, moustache, goatee
        wears = 1 - feminine
        colour = hair * dice.uniform(0.3, 1.0)[:, None]
        lips_box, lips = self.fields["lips"]
        bare = torch.zeros(1, 1, self.size, self.size, device=self.device)
        bare[:, :, lips_box[0], lips_box[1]] = torch.sigmoid((lips[0] + 0.001) / 0.0007)
        for index, name, low, high in (
            (1, "beard", 0.08, 0.45), (2, "beard", 0.6, 1.0), (3, "moustache", 0.5, 1.0), (4, "goatee", 0.4, 1.0)
        ):  # fmt: skip
            box, field = self.fields[name]
            ragged = 0.004 * dice.noise(*field[0].shape, 4, 4)
            hairs = (1 + 0.2 * dice.noise(*field[0].shape, 2.5, 1.4)).clamp(0.2, 1.6)
            edge = column(dice.uniform(0.001, 0.004))
            mask = torch.sigmoid((field[0] + ragged) / edge) * hairs * column(dice.uniform(low, high))
            mask = mask * (1 - 0.95 * bare[:, :, box[0], box[1]])
            worn = ((kind == index).float() * wears).reshape(-1, 1, 1, 1)
            self._cover(bearded, box, (mask * worn).clamp(0, 0.97), colour)
        return bearded

    def _island(self, name):
        u, v, width, height = (round(value * self.size) for value in ISLANDS[name])
        rows, columns = slice(v, v + height), slice(u, u + width)
        y, x = torch.meshgrid(
            (torch.arange(height, device=self.device) + 0.5) / height,
            (torch.arange(width, device=self.device) + 0.5) / width,
            indexing="ij",
        )
        return (slice(max(0, v - 1), v + height + 1), columns), rows, columns, y, x

    def _inner_parts(self, dice, canvas, gloss):
        count = dice.count
        iris, white = (
            dice.palette(IRIS_COLOURS),
            dice.uniform(0.4, 0.75)[:, None]
            * torch.cat(
                (
                    torch.ones(count, 1, device=self.device),
                    dice.uniform(0.85, 0.97, 1),
                    dice.uniform(0.8, 0.95, 1),
                ),
                1,
            ),
        )
        iris = iris * dice.uniform(0.6, 1.4)[:, None]
        radius, pupil, ring = dice.uniform(0.37, 0.44), dice.uniform(0.25, 0.5), dice.uniform(0.4, 0.9)
        for name in ("eye_left", "eye_right"):
            _, rows, columns, y, x = self._island(name)
            angle = torch.hypot(x - 0.5, y - 0.5) * 2 * EYE_LIMIT / column(radius)  # 1 at the iris' rim
            blur = EYE_LIMIT / (0.115 * self.size) * 2.0
            in_iris = torch.sigmoid((1 - angle) / (0.35 * blur))
            in_pupil = torch.sigmoid((column(pupil) - angle) / (0.3 * blur))
            rim = torch.exp(-(((angle - 0.92) / 0.12) ** 2)) * column(ring)
            eye = column(white) * (1 - 0.25 * ((angle - 1.6) / 1.5).clamp(0, 1))
            eye = eye + in_iris * (column(iris) * (0.6 + 0.7 * angle.clamp(0, 1)) * (1 - 0.6 * rim) - eye)
            eye = eye + in_pupil * (0.012 - eye)
            canvas[:, :, rows, columns] = eye
            gloss[:, :, rows, columns] = column(dice.uniform(1, 3))
        warmth = dice.uniform(0, 1)[:, None]
        clean = torch.tensor([1.0, 0.97, 0.92], device=self.device)
        stained = torch.tensor([1.0, 0.9, 0.7], device=self.device)
        enamel = dice.uniform(0.5, 0.85)[:, None] * (clean + warmth * (stained - clean))
        gum = dice.uniform(0.25, 0.55)[:, None] * torch.tensor([1.0, 0.36, 0.36], device=self.device)
        gap = dice.uniform(0.1, 0.5)
        for name, root in (("teeth_upper", 0), ("teeth_lower", 1)):
            _, rows, columns, y, x = self._island(name)
            arc = (x - 0.5) * 14
            between = torch.exp(-(((((arc - arc.floor()) - 0.5).abs() - 0.5) / 0.09) ** 2))
            from_root = y if root == 0 else 1 - y
            gums = torch.sigmoid((column(dice.uniform(0.15, 0.4)) + 0.06 * between - from_root) / 0.04)
            teeth = column(enamel) * (1 - column(gap) * between) * (1 - 0.6 * (2 * (x - 0.5)) ** 2)
            canvas[:, :, rows, columns] = teeth + gums * (column(gum) - teeth)
            gloss[:, :, rows, columns] = 0.8
        for name, low, high in (("tongue", 0.25, 0.5), ("mouth_cavity", 0.08, 0.3)):
            _, rows, columns, _, _ = self._island(name)
            flesh = dice.uniform(low, high)[:, None] * torch.cat(
                (
                    torch.ones(count, 1, device=self.device),
                    dice.uniform(0.25, 0.42, 1),
                    dice.uniform(0.25, 0.4, 1),
                ),
                1,
            )
            canvas[:, :, rows, columns] = column(flesh)

    def mirror(self, textures: torch.Tensor) -> torch.Tensor:
        """Textures (B, C, S, S) of the mirrored faces."""
        flipped = mirrored_skin(textures)
        boxes = {name: self._island(name)[1:3] for name in ISLANDS}
        sources = {"eye_left": "eye_right", "eye_right": "eye_left"}  # all other islands are their own
        for name, box in boxes.items():
            flipped[:, :, *box] = textures[:, :, *boxes[sources.get(name, name)]].flip(3)
        return flipped
