"""What all of a head looks like, of which a picture shows one side."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from lirec.geometry import Fragments, interpolate, linear_to_srgb, rasterize, srgb_to_linear
from lirec.geometry.filling import spread
from lirec.geometry.lighting import C0, spherical_harmonics
from lirec.geometry.masks import masked_mean, ramp
from lirec.geometry.view_synthesis import DEPTH_TOLERANCE, HeadView
from lirec.models.hair import Hair
from lirec.models.morphable_model import AXIS_Z, SKIN_BOTTOM, MorphableModel, mirrored_skin

GRAZING, FACING = 0.3, 0.8  # cosines below which a surface is not read off a picture, and above which it is
HAIR_FACING = 0.35  # how much less hair must face the camera, of which little does
OUTLINE = 5  # pixels round a head's outline, in which a picture may already show what is behind it
SHADE = (0.4, 0.8)  # times as lit as the other half, up to which a half does not tell what that is like, and from which
# on it does: a bright cheek that is taken from one in the shade is orange
COVERED = (0.25, 0.5)  # times as light as the face, up to which the side of a head is hair or a deep shadow that a
# picture shows in its place, and from which on it is skin
BRIGHTEST = 6.0  # times the average head
LUMINANCE = (0.2126, 0.7152, 0.0722)
DARK, BRIGHT = 0.6, 3.0  # limits of what light does, as a factor of an even one
UNKNOWN = 1e-4  # weight of the average head
SIDE = (1.0, 1.25)  # radians from the front, beyond which long hair covers a head
NAPE = -0.12  # metres: the height of the neck's beginning
ENOUGH = 0.01  # share of a texture that must be known for hair, or skin, to go on by itself


class TextureReader:
    """
    Reads textures off pictures of heads, and shows them.

    A texture says how much lighter each place is than the average head's, channel by channel, both under an even light.
    What a picture does not show is taken from the head's other half. Beyond both, what is at the border goes on: hair
    over the scalp, skin to ears and neck. Hair that is seen beside the head covers the scalp too, and where it hangs
    beside the face, ears and neck.

    Args:
        model: the morphable model.
        size: T, width and height of the textures; they are for what no pixel tells in detail.
    """

    def __init__(self, model: MorphableModel, size: int = 64):
        self.model = model
        texels = torch.cat((model.uv * size, torch.ones_like(model.uv[:, :1])), 1)[None]
        self.fragments = rasterize(texels, model.triangles_uv, size, size)
        on_head = (self.fragments.triangle >= 0)[:, None]
        on_head[:, :, round(SKIN_BOTTOM * size) :] = False
        scalp = model.select_vertices("scalp").to(texels.dtype)[None, :, None]
        is_hair = (interpolate(self.fragments, model.triangles, scalp) > 0.5).movedim(-1, 1)
        self.hair, self.head = is_hair.to(texels.dtype), on_head.to(texels.dtype)
        x, y, z = interpolate(self.fragments, model.triangles, model.mean_vertices[None]).unbind(-1)
        round_the_side = ramp(torch.atan2(x.abs(), z - AXIS_Z), SIDE) * (y > NAPE)
        self.neck = (y < NAPE)[:, None] * on_head
        self.under_long_hair = round_the_side[:, None] * on_head * ~is_hair
        self.albedo = srgb_to_linear(F.interpolate(model.mean_albedo[None], (size, size), mode="area"))

    def read(
        self,
        image: torch.Tensor,
        mask: torch.Tensor,
        hair: Hair,
        points: torch.Tensor,
        normals: torch.Tensor,
        depth: torch.Tensor,
        harmonics: torch.Tensor,
        view: HeadView,
    ) -> torch.Tensor:
        """
        Args:
            image, mask, points, depth, harmonics, view: as of `SourceMaps`.
            hair: what is taken for it in the image.
            normals: (B, V, 3) of the vertices, camera frame.

        Returns:
            (B, 3, T, T), linear RGB.
        """
        parts = (self.fragments.triangle, self.fragments.barycentric, self.fragments.depth)
        fragments = Fragments(*(part.expand(len(image), *part.shape[1:]).contiguous() for part in parts))
        values = interpolate(fragments, self.model.triangles, torch.cat((points, normals), 2))
        place, distance, normal = values[..., :2], values[..., 2], F.normalize(values[..., 3:], dim=-1)
        grid = place * 2 - 1

        rays = torch.cat((place, torch.ones_like(distance)[..., None]), -1).flatten(1, 2)
        rays = F.normalize(rays @ view.K.inverse().transpose(1, 2), dim=-1).view_as(normal)
        towards = -(normal * rays).sum(-1)[:, None]
        facing = towards + HAIR_FACING * self.hair
        inner = -F.max_pool2d(-mask, OUTLINE, 1, OUTLINE // 2)
        hiding = F.grid_sample(depth, grid, mode="nearest", align_corners=False)
        unhidden = distance[:, None] < hiding + DEPTH_TOLERANCE
        known = ramp(facing, (GRAZING, FACING)) * unhidden * self.head
        known = known * F.grid_sample(inner, grid, align_corners=False)  # 0 beyond the picture

        lit = shading(normal, harmonics)
        colour = srgb_to_linear(F.grid_sample(image, grid, padding_mode="border", align_corners=False))
        even = (colour / (self.albedo * lit).clamp_min(1e-3)).clamp(0, BRIGHTEST)
        looks_like_hair = F.grid_sample(hair.likelihood, grid, align_corners=False)
        # Hair is lit as what is seen of the head is on average: it looks all ways too.
        hair = replace(hair, colour=hair.colour / masked_mean(lit, towards.clamp_min(0) * self.head))
        known = known * (1 - hair.trust * looks_like_hair * self.neck)  # strands that hang before it
        light = (even * even.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)
        usual = masked_mean(light, known * (1 - self.hair) * (1 - self.under_long_hair))[..., None, None]
        known = known * (1 - self.under_long_hair * (1 - ramp(light / usual.clamp_min(1e-3), COVERED)))
        mirrors = ramp(mirrored_skin(lit) / lit, SHADE)
        return self._completed(even, known, mirrors, hair, hair.covers(place), looks_like_hair)

    def _completed(
        self,
        even: torch.Tensor,
        known: torch.Tensor,
        mirrors: torch.Tensor,
        hair: Hair,
        hanging: torch.Tensor,
        looks_like_hair: torch.Tensor,
    ) -> torch.Tensor:
        """
        Textures (B, 3, T, T) of which all is known.

        Args:
            even: (B, 3, T, T) what the picture shows; known: (B, 1, T, T) how well it does.
            mirrors: (B, 1, T, T) whether the other half is lit well enough to tell what this one is like.
            hanging, looks_like_hair: (B, 1, T, T) whether hair hangs there beside the face, and is what is shown.
        """
        covered = self.under_long_hair * hanging
        other, other_known = mirrored_skin(even), (1 - known) * mirrored_skin(known) * mirrors * (1 - covered)
        copied, both = even * known + other * other_known, known + other_known
        filling = spread(copied + UNKNOWN, both + UNKNOWN)  # the average head where nothing is known

        region = self.hair + covered
        beside = (hair.colour[..., None, None] / self.albedo.clamp_min(1e-3)).clamp(0, BRIGHTEST)
        filling = filling + hair.trust * region * (beside - filling)
        # Where hair can be told from all else, what goes on over the scalp is only what looks like it.
        alike = 1 - (2 * hair.trust).clamp_max(1) * (1 - looks_like_hair)
        like_hair = (region, known * alike, other_known * mirrored_skin(alike))
        for here, own, others in (like_hair, (1 - region, known, other_known)):
            seen = (own + others) * here
            alone = spread((even * own + other * others) * here, seen)
            trust = (seen.mean((1, 2, 3), keepdim=True) / ENOUGH).clamp(0, 1) * here
            filling = torch.lerp(filling, alone, trust)
        return copied + (1 - both) * filling

    def show(
        self, texture: torch.Tensor, uv: torch.Tensor, normal: torch.Tensor, harmonics: torch.Tensor
    ) -> torch.Tensor:
        """
        Args:
            texture: (B, 3, T, T).
            uv: (B, H, W, 2) what pixels see; normal: (B, H, W, 3) camera frame; harmonics: (B, 9, 3).

        Returns:
            (B, 3, H, W) sRGB.
        """
        lighter, albedo = (
            F.grid_sample(values.expand(len(uv), -1, -1, -1), uv * 2 - 1, padding_mode="border", align_corners=False)
            for values in (texture, self.albedo)
        )
        return linear_to_srgb((lighter * albedo * shading(normal, harmonics)).clamp(0, 1))


def shading(normal: torch.Tensor, harmonics: torch.Tensor) -> torch.Tensor:
    """
    How much brighter surfaces are than under an even light; the same for all channels, since a light's colours at one
    side of a head are not known at the other.

    Args:
        normal: (B, H, W, 3); harmonics: (B, 9, 3).

    Returns:
        (B, 1, H, W).
    """
    light = harmonics @ harmonics.new_tensor(LUMINANCE)[:, None]
    lit = spherical_harmonics(normal).flatten(1, 2) @ (light / (C0 * light[:, :1]).clamp_min(0.01))
    return lit.clamp(DARK, BRIGHT).transpose(1, 2).unflatten(2, normal.shape[1:3])
