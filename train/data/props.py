"""Hair, hats, glasses, hands, microphones and clothes for rendered faces, as meshes of fixed topology.

Everything is drawn in one pass with the head. What a picture lacks is shrunk to a point, which draws nothing.
Shapes are in metres in the face frame. The head's atlas is extended downwards by a strip that holds the
textures of hair, cloth and plain colours.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lirec.geometry.mesh import grid_triangles
from lirec.geometry.rotation import euler_to_matrix
from lirec.models.morphable_model import AXIS_Z, NECK_PIVOT, MorphableModel
from train.data.skins import Dice, SkinPainter, Skins, column

STRIP = 0.375  # height of the extra strip, as a share of the atlas
CELLS = {  # u0, u1 within the strip
    "hair": (0.0, 0.5),
    "cloth": (0.5, 0.75),
    "hat": (0.75, 0.83),
    "frame": (0.83, 0.88),
    "lens": (0.88, 0.92),
    "thing": (0.92, 0.96),
    "hand": (0.96, 1.0),
}
SKIN, INNER, HAIR, PROP = 0, 1, 2, 3  # what a triangle belongs to
HAIRLINE_KNOTS = (0.0, 0.45, 0.75, 1.0, 1.22, 1.40, 1.70, math.pi)  # radians from the front


@dataclass
class Looks:
    """What a person wears, B of them: hairline heights at the knots, amounts and 0/1 switches."""

    hairline: torch.Tensor  # (B, K) metres
    skew: torch.Tensor  # (B,) parting
    painted: torch.Tensor  # (B,) cover of the scalp by painted hair
    soft: torch.Tensor  # (B,) metres
    volume: torch.Tensor  # (B,) metres, 0 when shaved
    outline: torch.Tensor  # (B, 6) the hair's: four of its bumps, and how full it is at the sides, short and long
    long: torch.Tensor  # (B,) 0/1
    curtain: torch.Tensor  # (B, 6) opening, bottom, volume, flare, waves, phase
    hat: torch.Tensor  # (B,) 0/1
    hat_line: torch.Tensor  # (B, 3) front, back, thickness
    brim: torch.Tensor  # (B,) metres, 0 without
    glasses: torch.Tensor  # (B,) 0/1
    dark_lenses: torch.Tensor  # (B,) 0/1
    rims: torch.Tensor  # (B, 5) half width, half height, squareness, thickness, height on the nose
    shoulders: torch.Tensor  # (B, 5) width, slope, collar front, collar back, thickness
    strip: torch.Tensor  # (B, 4, h, S) texture of the extra strip


@dataclass
class Scene:
    vertices: torch.Tensor  # (B, N, 3)
    triangles: torch.Tensor  # (M, 3)
    triangles_uv: torch.Tensor  # (M, 3)
    uv: torch.Tensor  # (1, U, 2)
    texture: torch.Tensor  # (B, 4, H, S) linear RGB and gloss
    occlusion: torch.Tensor  # (B, N)
    part: torch.Tensor  # (M,)
    casts: torch.Tensor  # (M,) bool: throws a shadow


def ball(rows: int = 7, columns: int = 10) -> torch.Tensor:
    polar = torch.linspace(0.01, math.pi - 0.01, rows)
    around = torch.arange(columns) / columns * 2 * math.pi
    return torch.stack(
        (
            polar.sin()[:, None] * around.cos(),
            polar.cos()[:, None].expand(rows, columns),
            polar.sin()[:, None] * around.sin(),
        ),
        2,
    ).reshape(-1, 3)


class Props:
    """Dresses heads of a morphable model whose skins a `SkinPainter` paints."""

    RIM = 24  # points round a lens
    SIDES = 5  # sides of a tube

    def __init__(self, model: MorphableModel, painter: SkinPainter, device):
        self.model, self.painter, self.device = model, painter, device
        mean, triangles = model.mean_vertices, model.triangles
        angle = torch.atan2(mean[:, 0], mean[:, 2] - AXIS_Z)
        height = mean[:, 1]
        skin = model.select_vertices("skin", "scalp", "brows", "neck", "eye_cavity", "lips", "ear")
        inner_skin = model.select_vertices("eye_cavity", "lips", "ear", "brows")
        wearable = skin & ~inner_skin & (height > -0.095) & ((angle.abs() > 0.85) | (height > 0.03))
        shell = triangles[wearable[triangles].all(1)]
        self.shell, shell_triangles = torch.unique(shell, return_inverse=True)
        self.shell_angle, self.shell_height = angle[self.shell], height[self.shell]
        self.shell_hairline = self._hat_functions(self.shell_angle)
        self.texel_hairline = self._hat_functions(painter.angle)

        self.blocks = {}  # name: (first vertex, vertex count)
        rows, parts, casts, uv, rows_uv = [triangles], [], [], [], []
        triangle_skin = model.select_triangles("skin", "lips", "brows", "scalp", "ear", "neck", "eye_cavity")
        parts.append(torch.where(triangle_skin, SKIN, INNER))
        casts.append(torch.ones(len(triangles), dtype=torch.bool, device=device))
        uv.append(model.uv * torch.tensor([1.0, 1 / (1 + STRIP)], device=device))
        rows_uv.append(model.triangles_uv)
        vertex_start, uv_start = len(mean), len(model.uv)

        def add(name, local_triangles, local_uv, cell, part, casts_shadow=True):
            nonlocal vertex_start, uv_start
            low, high = CELLS[cell]
            pad = 0.006
            local = local_uv.to(device).clamp(0, 1)
            u = low + pad + local[:, 0] * (high - low - 2 * pad)
            v = (1 + STRIP * (0.03 + 0.94 * local[:, 1])) / (1 + STRIP)
            self.blocks[name] = (vertex_start, len(local))
            rows.append(local_triangles.to(device) + vertex_start)
            rows_uv.append(local_triangles.to(device) + uv_start)
            uv.append(torch.stack((u, v), 1))
            parts.append(torch.full((len(local_triangles),), part, device=device))
            casts.append(torch.full((len(local_triangles),), casts_shadow, dtype=torch.bool, device=device))
            vertex_start += len(local)
            uv_start += len(local)

        shell_uv = torch.stack((self.shell_angle / (2 * math.pi) + 0.5, (0.14 - self.shell_height) / 0.26), 1)
        add("hair", shell_triangles, shell_uv, "hair", HAIR)
        add("hat", shell_triangles, shell_uv, "hat", PROP)
        self.curtain_shape = (14, 40)
        curtain_uv = self._grid_uv(*self.curtain_shape)
        add("curtain", grid_triangles(*self.curtain_shape), curtain_uv, "hair", HAIR)
        self.brim_shape = (4, 24)
        add("brim", grid_triangles(*self.brim_shape), self._grid_uv(*self.brim_shape), "hat", PROP)
        tube = grid_triangles(self.SIDES, self.RIM, closed=True)
        for side in ("left", "right"):
            add(f"rim_{side}", tube, self._grid_uv(self.SIDES, self.RIM), "frame", PROP)
            fan = torch.stack(
                (
                    torch.full((self.RIM,), self.RIM),
                    torch.arange(self.RIM),
                    (torch.arange(self.RIM) + 1) % self.RIM,
                ),
                1,
            )
            add(f"lens_{side}", fan, torch.full((self.RIM + 1, 2), 0.5), "lens", PROP, casts_shadow=False)
            add(f"temple_{side}", grid_triangles(2, 4, closed=True), self._grid_uv(2, 4), "frame", PROP)
        add("bridge", grid_triangles(2, 4, closed=True), self._grid_uv(2, 4), "frame", PROP)
        self.ball = ball().to(device)
        ball_triangles = grid_triangles(7, 10, closed=True)
        ball_uv = self._grid_uv(7, 10)
        add("thing", ball_triangles, ball_uv, "thing", PROP)
        add("handle", grid_triangles(2, 8, closed=True), self._grid_uv(2, 8), "thing", PROP)
        for finger in range(6):
            add(f"finger_{finger}", ball_triangles, ball_uv, "hand", PROP)
        self.torso_shape = (9, 36)
        add(
            "torso",
            grid_triangles(*self.torso_shape, closed=True),
            self._grid_uv(*self.torso_shape),
            "cloth",
            PROP,
            False,
        )
        add("throat", grid_triangles(3, 24, closed=True), self._grid_uv(3, 24), "hand", PROP, False)
        self.triangles, self.triangles_uv = torch.cat(rows), torch.cat(rows_uv)
        self.uv, self.part, self.casts = torch.cat(uv)[None], torch.cat(parts), torch.cat(casts)
        self.vertex_count = vertex_start

    @staticmethod
    def _grid_uv(rows, columns):
        v, u = torch.meshgrid(torch.linspace(0, 1, rows), torch.linspace(0, 1, columns), indexing="ij")
        return torch.stack((u.flatten(), v.flatten()), 1)

    @staticmethod
    def _hat_functions(angle: torch.Tensor) -> torch.Tensor:
        """Weights (K, ...) that interpolate values at the hairline's knots at |angle|."""
        knots = torch.tensor(HAIRLINE_KNOTS, device=angle.device)
        x = angle.abs().flatten()[None]
        k = knots[:, None]
        below = torch.cat((k[:1] - 1, k[:-1]))
        above = torch.cat((k[1:], k[-1:] + 1))
        weights = torch.minimum((x - below) / (k - below), (above - x) / (above - k)).clamp(0, 1)
        return (weights / weights.sum(0)).reshape(-1, *angle.shape)

    # what a person looks like ---------------------------------------------------------------------------------

    def sample_looks(self, dice: Dice, skins: Skins) -> Looks:
        """Hair and clothes for each of the painted people."""
        count, device = dice.count, self.device
        female = skins.feminine
        bald = (1 - female) * dice.chance(0.13)
        front = 0.072 + dice.normal(0, 0.008) + (1 - female) * dice.chance(0.25) * dice.uniform(0.005, 0.03)
        fringe = torch.where(female > 0, dice.chance(0.24), dice.chance(0.1))
        front = torch.where(fringe > 0, dice.uniform(0.03, 0.06), front)
        recess = dice.uniform(-0.005, 0.012) + (1 - female) * dice.chance(0.3) * dice.uniform(0.01, 0.035)
        recess = torch.where(fringe > 0, torch.full_like(recess, -0.005), recess)
        sides, nape = dice.uniform(-0.045, 0.005), dice.uniform(-0.09, -0.06)
        ones = torch.ones(count, device=device)
        temple = torch.minimum(0.035 + 0.3 * recess, front)
        hairline = torch.stack(
            (front, front + 0.5 * recess, torch.minimum(front + 0.4 * recess - 0.005, 0.06 * ones), temple,
             0.01 * ones, sides, nape, nape), 1
        )  # fmt: skip
        hairline = hairline + dice.normal(0, 0.002, len(HAIRLINE_KNOTS))
        hat = dice.chance(0.07)
        glasses = dice.chance(0.2)
        bearable = dice.chance(0.9) * (1 - bald)
        volume = bearable * dice.uniform(0.003, 0.035) * (0.8 + 0.5 * female)
        long = torch.where(female > 0, dice.chance(0.65), dice.chance(0.04)) * (1 - bald)
        return Looks(
            hairline=hairline,
            skew=dice.normal(0, 0.006),
            painted=torch.where(bald > 0, dice.uniform(0, 0.4) * dice.chance(0.6), dice.uniform(0.8, 1)),
            soft=dice.uniform(0.003, 0.014),
            volume=volume,
            outline=dice.uniform(0, 1, 6),
            long=long,
            curtain=dice.uniform(0, 1, 6),
            hat=hat,
            hat_line=torch.stack((dice.uniform(0.035, 0.07), dice.uniform(-0.03, 0.04), dice.uniform(0.004, 0.03)), 1),
            brim=hat * dice.chance(0.6) * dice.uniform(0.03, 0.08),
            glasses=glasses,
            dark_lenses=dice.chance(0.25),
            rims=torch.stack(
                (
                    dice.uniform(0.023, 0.031),
                    dice.uniform(0.014, 0.026),
                    dice.uniform(2, 5),
                    dice.uniform(0.0006, 0.0028),
                    dice.normal(-0.002, 0.002),
                ),
                1,
            ),
            shoulders=torch.stack(
                (
                    dice.uniform(0.15, 0.23),
                    dice.uniform(0.02, 0.07),
                    dice.uniform(0.0, 0.09),
                    dice.uniform(-0.01, 0.02),
                    dice.uniform(0.08, 0.12),
                ),
                1,
            ),
            strip=self._paint_strip(dice, skins),
        )

    def _paint_strip(self, dice: Dice, skins: Skins) -> torch.Tensor:
        count, size = dice.count, self.painter.size
        height = round(STRIP * size)
        strip = torch.zeros(count, 4, height, size, device=self.device)

        def cell(name):
            low, high = CELLS[name]
            return slice(round(low * size), round(high * size))

        hair = cell("hair")
        width = hair.stop - hair.start
        strands = column(dice.uniform(0.15, 0.5)) * dice.noise(height, width, 24, 1.6)
        clumps = 0.25 * dice.noise(height, width, 14, 10)
        strip[:, :3, :, hair] = column(skins.hair_colour) * torch.exp(strands + clumps)
        strip[:, 3:, :, hair] = column(dice.uniform(0, 1.5))

        def random_colour():
            bright = dice.uniform(0, 1, 3) * 0.5 + dice.uniform()[:, None] * 0.5
            dull = dice.uniform(0.06, 0.35)[:, None] + dice.normal(0, 0.03, 3)
            return torch.where(dice.chance(0.5)[:, None] > 0, bright, dull).clamp(0.01, 0.98) ** 2.2

        def fill(name, colour, gloss):
            strip[:, :3, :, cell(name)] = column(colour)
            strip[:, 3:, :, cell(name)] = column(gloss)

        zero = torch.zeros(count, device=self.device)
        cloth = cell("cloth")
        fill("cloth", random_colour(), zero)
        width = cloth.stop - cloth.start
        stripes = torch.sin(torch.arange(width, device=self.device) * column(dice.uniform(0.2, 1.5))) > 0
        second = column(random_colour()) * stripes * column(dice.chance(0.3))
        base = strip[:, :3, :, cloth]
        base += stripes * column(dice.chance(0.25)) * (second - base)
        base *= 1 + 0.15 * dice.noise(height, width, 5, 5)
        fill("hat", random_colour(), zero)
        strip[:, :3, :, cell("hat")] *= 1 + 0.15 * dice.noise(height, cell("hat").stop - cell("hat").start, 3, 3)
        dark_frame = dice.uniform(0.005, 0.08)[:, None].expand(count, 3)
        fill(
            "frame",
            torch.where(dice.chance(0.7)[:, None] > 0, dark_frame, random_colour()),
            dice.uniform(0, 3),
        )
        fill("lens", dice.uniform(0.003, 0.05)[:, None].expand(count, 3), dice.uniform(0, 3))
        fill(
            "thing",
            torch.where(
                dice.chance(0.6)[:, None] > 0,
                dice.uniform(0.005, 0.05)[:, None].expand(count, 3),
                random_colour(),
            ),
            dice.uniform(0, 1),
        )
        fill("hand", skins.tone * torch.exp(dice.normal(0, 0.1))[:, None], 0.3 + zero)
        return strip.clamp_(0, 3)

    # putting it on a head ---------------------------------------------------------------------------------------

    def assemble(
        self,
        dice: Dice,
        head: torch.Tensor,
        neutral: torch.Tensor,
        skins: Skins,
        looks: Looks,
        body_turn: torch.Tensor | None = None,
    ) -> Scene:
        """
        The scene of heads (B, V, 3): expression in `head`, without it in `neutral` (glasses and hats do not move).

        The random numbers of this step (hands, microphones, how the shoulders turn) belong to the picture.
        `body_turn (B, 3, 3)` turns the shoulders about the neck besides, in the face frame.
        """
        count = dice.count
        vertices = head.new_zeros(count, self.vertex_count, 3)
        vertices[:, : head.shape[1]] = head
        inside = head.new_tensor([0.0, 0.0, AXIS_Z])

        def put(name, points, present):
            start, size = self.blocks[name]
            here = present.reshape(-1, 1, 1)
            vertices[:, start : start + size] = inside + here * (points.reshape(count, size, 3) - inside)

        self._put_hair(put, neutral, looks)
        self._put_hat(put, neutral, looks)
        self._put_glasses(put, neutral, looks)
        self._put_things(put, dice, head)
        self._put_torso(put, dice, looks, body_turn)

        texture = torch.cat((skins.bearded, skins.gloss), 1)
        texture = self._paint_scalp(dice, texture, skins, looks)
        occlusion = head.new_ones(count, self.vertex_count)
        occlusion[:, : head.shape[1]] = self.model.ambient_occlusion
        return Scene(
            vertices, self.triangles, self.triangles_uv, self.uv, torch.cat((texture, looks.strip), 2),
            occlusion, self.part, self.casts,
        )  # fmt: skip

    def _paint_scalp(self, dice, texture, skins, looks):
        rows = self.painter.rows
        line = torch.einsum("bk,khw->bhw", looks.hairline, self.texel_hairline)
        above = self.painter.height - line - looks.skew[:, None, None] * self.painter.angle.sin()
        above = above[:, None] + 0.003 * dice.noise(rows, self.painter.size, 3, 3)
        mask = ((above / column(looks.soft)) + 0.3).clamp(0, 1) * column(looks.painted) * (1 - self.painter.ear)
        tufts = 1 + 0.25 * dice.noise(rows, self.painter.size, 8, 1.6)
        skin = texture[:, :3, :rows]
        skin += mask * (column(skins.hair_colour) * tufts - skin)
        texture[:, 3:, :rows] *= 1 - 0.8 * mask
        return texture

    def _put_hair(self, put, neutral, looks):
        scalp = neutral[:, self.shell]
        outward = F.normalize(scalp - scalp.new_tensor([0.0, 0.01, AXIS_Z - 0.01]), dim=2)
        line = looks.hairline @ self.shell_hairline + looks.skew[:, None] * self.shell_angle.sin()
        above = self.shell_height - line
        rise = (above / 0.03).clamp(0, 1)
        rise = rise * rise * (3 - 2 * rise)
        bumps, fullness = looks.outline[:, :4], (2.5 * looks.outline[:, 4:] - 1.5).clamp_min(0)
        wave = 1 + 0.25 * torch.sin((2 + 7 * bumps[:, :1]) * self.shell_angle + 6.3 * bumps[:, 1:2]) * torch.sin(
            (20 + 70 * bumps[:, 2:3]) * self.shell_height + 6.3 * bumps[:, 3:4]
        )
        full = fullness[:, :1]
        crown = 0.4 + 0.6 * ((self.shell_height + 0.01) / 0.1).clamp(0, 1)
        thick = (looks.volume[:, None] + 0.03 * full) * (crown + full * (1 - crown))
        lift = thick * rise * wave + 0.0015 * rise - 0.006 * (above < 0)
        flat = looks.volume * (1 - looks.hat)  # hair under a hat is pressed down
        lift = torch.where(looks.hat[:, None] > 0, torch.minimum(lift, lift * 0 + 0.003), lift)
        points = scalp + outward * lift[..., None]
        points[..., 1] += 0.3 * flat[:, None] * rise * (self.shell_angle.abs() < 1.2)
        put("hair", points, (looks.volume > 0).float())

        opening, bottom, volume, flare, waves, phase = looks.curtain.unbind(1)
        rows, columns = self.curtain_shape
        height = torch.linspace(0, 1, rows, device=self.device)
        y = 0.085 + (-0.07 - 0.18 * bottom - 0.085)[:, None] * height
        start = (0.95 + 0.7 * opening)[:, None]
        around = start + (2 * math.pi - 2 * start) * torch.linspace(0, 1, columns, device=self.device)
        y, around = y[:, :, None], around[:, None]
        dome = (1 - ((y - 0.005) / 0.095).clamp(0, 1) ** 2).clamp_min(0.05).sqrt()
        radius = dome * (1.02 + 0.22 * column(volume)[..., 0]) + (flare * 4 - 1.2)[:, None, None] * (
            -0.02 - y
        ).clamp_min(0)
        radius = radius + 0.4 * fullness[:, 1:, None] * torch.exp(-((y / 0.07) ** 2))
        strand = 1 + 0.06 * waves[:, None, None] * torch.sin((3 + 11 * phase)[:, None, None] * around + 30 * y)
        radius = radius.clamp_min(0.4) * strand
        points = torch.stack(
            (0.09 * radius * around.sin(), y.expand_as(radius), AXIS_Z + 0.115 * radius * around.cos()), 3
        )
        put("curtain", points, looks.long)

    def _put_hat(self, put, neutral, looks):
        scalp = neutral[:, self.shell]
        outward = F.normalize(scalp - scalp.new_tensor([0.0, 0.0, AXIS_Z]), dim=2)
        front, back, thick = looks.hat_line.unbind(1)
        share = (self.shell_angle.abs() / math.pi)[None]
        line = front[:, None] * (1 - share) + back[:, None] * share
        above = self.shell_height - line
        lift = torch.where(
            above > 0, 0.006 + thick[:, None] * (above / 0.04).clamp(0, 1), torch.full_like(above, -0.01)
        )
        put("hat", scalp + outward * lift[..., None], looks.hat)
        rows, columns = self.brim_shape
        angle = torch.linspace(-1.25, 1.25, columns, device=self.device)
        reach = torch.linspace(0, 1, rows, device=self.device)[None, :, None] * looks.brim[:, None, None]
        fall = torch.cos(angle / 1.25 * math.pi / 2).clamp_min(0).sqrt()
        radius_x, radius_z = 0.084 + reach * fall, 0.122 + reach * fall
        points = torch.stack(
            (
                radius_x * angle.sin(),
                front[:, None, None] + 0.004 - 0.25 * reach + 0 * angle,
                AXIS_Z + radius_z * angle.cos(),
            ),
            3,
        )
        put("brim", points, (looks.brim > 0).float())

    def _tube(self, centres, radius, around_axes):
        """Vertices (B, SIDES, RIM, 3) of a closed tube along centres (B, RIM, 3)."""
        first, second = around_axes
        turn = torch.arange(self.SIDES, device=self.device) / (self.SIDES - 1) * 2 * math.pi
        offset = first[:, None] * turn.cos()[None, :, None, None] + second[:, None] * turn.sin()[None, :, None, None]
        return centres[:, None] + offset * radius[:, None, None, None]

    def _bar(self, start, end, radius):
        """A square bar (B, 2, 4, 3) between two points (B, 3)."""
        axis = F.normalize(end - start, dim=1)
        side = F.normalize(torch.linalg.cross(axis, axis.new_tensor([0.0, 1.0, 0.0]).expand_as(axis)), dim=1)
        up = torch.linalg.cross(side, axis)
        corners = torch.stack((side + up, up - side, -side - up, side - up), 1) * radius[:, None, None]
        return torch.stack((start[:, None] + corners, end[:, None] + corners), 1)

    def _put_glasses(self, put, neutral, looks):
        lm = neutral[:, self.model.landmark_vertices]
        half_width, half_height, square, thick, sink = looks.rims.unbind(1)
        turn = torch.arange(self.RIM, device=self.device) / self.RIM * 2 * math.pi
        cosine, sine = turn.cos()[None], turn.sin()[None]
        power = (2 / square)[:, None]
        wide = cosine.sign() * cosine.abs() ** power * half_width[:, None]
        tall = sine.sign() * sine.abs() ** power * half_height[:, None]
        ends = {}
        for side, ids, sign in (("right", slice(36, 42), -1), ("left", slice(42, 48), 1)):
            centre = lm[:, ids].mean(1)
            centre = torch.stack((centre[:, 0], centre[:, 1] + sink, lm[:, 27, 2] + 0.004), 1)
            bend = -0.008 * ((cosine * sign).clamp_min(0)) ** 2
            rim = centre[:, None] + torch.stack((wide, tall, bend.expand_as(wide)), 2)
            outward = torch.stack((cosine.expand_as(wide), sine.expand_as(wide), torch.zeros_like(wide)), 2)
            forward = torch.zeros_like(outward)
            forward[..., 2] = 1
            put(f"rim_{side}", self._tube(rim, thick, (outward, forward)), looks.glasses)
            put(f"lens_{side}", torch.cat((rim, centre[:, None]), 1), looks.glasses * looks.dark_lenses)
            outer, inner = (0, self.RIM // 2) if sign > 0 else (self.RIM // 2, 0)
            ends[side] = rim[:, inner]
            ear = lm[:, 16 if sign > 0 else 0]
            ear = torch.stack((ear[:, 0] * 1.04, centre[:, 1], torch.full_like(ear[:, 2], -0.085)), 1)
            put(f"temple_{side}", self._bar(rim[:, outer], ear, thick), looks.glasses)
        put("bridge", self._bar(ends["right"], ends["left"], thick), looks.glasses)

    def _put_things(self, put, dice, head):
        """A microphone, or some rounded thing in front of the face, or a hand on it."""
        count = dice.count
        kind = dice.choice([0.80, 0.08, 0.05, 0.07])
        mouth = head[:, self.model.landmark_vertices[57]]
        microphone = mouth + torch.stack(
            (dice.normal(0, 0.035), dice.uniform(-0.075, -0.015), dice.uniform(0.025, 0.09)), 1
        )
        anywhere = torch.stack((dice.uniform(-0.08, 0.08), dice.uniform(-0.13, 0.07), dice.uniform(0.07, 0.12)), 1)
        centre = torch.where((kind == 1)[:, None], microphone, anywhere)
        radius = torch.where(
            (kind == 1)[:, None],
            dice.uniform(0.012, 0.026)[:, None].expand(count, 3),
            dice.uniform(0.01, 0.05, 3),
        )
        put("thing", centre[:, None] + self.ball * radius[:, None], ((kind == 1) | (kind == 2)).float())
        turn = torch.arange(8, device=self.device) / 8 * 2 * math.pi
        ring = torch.stack((turn.cos(), torch.zeros_like(turn), turn.sin()), 1) * radius[:, :1, None] * 0.65
        lean = torch.stack(
            (dice.normal(0, 0.08), torch.full((count,), -0.25, device=self.device), dice.uniform(0, 0.1)), 1
        )
        handle = torch.stack((centre[:, None] + ring, centre[:, None] + ring * 0.8 + lean[:, None]), 1)
        put("handle", handle, (kind == 1).float())

        spot = torch.stack(
            (dice.uniform(-0.06, 0.06), dice.uniform(-0.14, -0.04), torch.zeros(count, device=self.device)), 1
        )
        spot[:, 2] = 0.035 - 0.06 * (spot[:, 0] / 0.06) ** 2 - 0.2 * (-0.08 - spot[:, 1]).clamp_min(0)
        direction = torch.pi / 2 + dice.normal(0, 0.6)
        for index in range(6):
            if index < 4:  # fingers side by side
                length, width = 0.035, 0.0085
                aside, along = (index - 1.5) * 0.0165, 0.012 * math.cos((index - 1.5) * 0.7)
            elif index == 4:  # palm
                length, width, aside, along = 0.045, 0.036, 0.0, -0.05
            else:  # thumb
                length, width, aside, along = 0.028, 0.010, 0.035, -0.02
            radii = torch.tensor([width, length, width * (0.8 if index != 4 else 0.45)], device=self.device)
            local = self.ball * radii + torch.tensor([aside, along, 0.0], device=self.device)
            cosine, sine = (
                (direction - torch.pi / 2).cos()[:, None],
                (direction - torch.pi / 2).sin()[:, None],
            )
            turned = torch.stack(
                (local[:, 0] * cosine - local[:, 1] * sine, local[:, 0] * sine + local[:, 1] * cosine,
                 local[:, 2].expand(count, -1)), 2
            )  # fmt: skip
            put(f"finger_{index}", spot[:, None] + turned, (kind == 3).float())

    def _put_torso(self, put, dice, looks, body_turn):
        """Neck and shoulders, turned less than the head that they carry."""
        count = dice.count
        turned = dice.normal(0, 0.25, 3) * torch.tensor([0.3, 1.0, 0.6], device=self.device)
        flip = torch.tensor([1.0, -1.0, -1.0], device=self.device)[:, None]  # of euler_to_matrix, undone
        relative = euler_to_matrix(turned) * flip
        if body_turn is not None:
            relative = body_turn @ relative
        pivot = torch.tensor(NECK_PIVOT, device=self.device)
        width, slope, collar_front, collar_back, thick = looks.shoulders.unbind(1)
        columns = self.torso_shape[1]
        around = torch.arange(columns, device=self.device) / columns * 2 * math.pi
        facing = around.cos()  # 1 in front
        profile_x = torch.tensor([0.062, 0.066, 0.09, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], device=self.device)
        share = torch.tensor([0, 0, 0, 0.55, 0.8, 0.95, 1.0, 1.02, 1.05], device=self.device)
        drop = torch.tensor([0.0, 0.01, 0.02, 0.4, 0.6, 0.85, 1.3, 3.0, 6.0], device=self.device)
        radius_x = profile_x[None] + width[:, None] * share
        radius_z = torch.maximum(0.058 + 0 * radius_x, thick[:, None] * share.clamp_min(0.5))
        y = -0.035 - drop * (slope[:, None] + 0.03) - 0.02
        collar = torch.where(facing > 0, collar_front[:, None] * facing, collar_back[:, None] * facing)
        fade = torch.tensor([1, 0.9, 0.7, 0.2, 0, 0, 0, 0, 0.0], device=self.device)
        points = torch.stack(
            (
                radius_x[:, :, None] * around.sin(),
                y[:, :, None] - fade[None, :, None] * collar[:, None],
                radius_z[:, :, None] * facing + 0 * y[:, :, None],
            ),
            3,
        ).reshape(count, -1, 3)
        put("torso", points @ relative.transpose(1, 2) + pivot, dice.chance(0.95))
        ring = torch.arange(24, device=self.device) / 24 * 2 * math.pi
        rings = ((0.05, 0.05, 0.0), (0.056, 0.055, -0.05), (0.10, 0.07, -0.16))  # half axes and height
        throat = torch.stack(
            [
                torch.stack((rx * ring.sin(), y0 + 0 * ring, rz * ring.cos()), 1)
                for rx, rz, y0 in rings
            ]
        ).reshape(1, -1, 3)
        put(
            "throat",
            throat.expand(count, -1, -1) @ relative.transpose(1, 2) + pivot,
            torch.ones(count, device=self.device),
        )
