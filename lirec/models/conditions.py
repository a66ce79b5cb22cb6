"""What DCNet is told about the source and the driven head: maps of the mesh, and where pixels come from."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lirec.geometry import fit_light, interpolate, linear_to_srgb, project, rasterize, shade, srgb_to_linear
from lirec.geometry.filling import spread
from lirec.geometry.masks import grown, ramp
from lirec.geometry.mesh import vertex_normals
from lirec.geometry.view_synthesis import (
    Correspondence,
    HeadView,
    dense_correspondence,
    enlarge,
    hiding_depth,
    seen_from_front,
)
from lirec.models.hair import find_hair
from lirec.models.hair_sheet import HairSheet, MovedHair, find_sheet, move
from lirec.models.head_texture import TextureReader
from lirec.models.morphable_model import MorphableModel

SKIN = (0.72, 0.56, 0.48)  # sRGB of the average skin
LIGHT_PIXELS = 32  # width at which light is fitted: it is smooth
MARGIN, AROUND = 0.015, 0.12  # of a picture's width beyond a mesh: up to which the head may reach, and near it
MOUTH = ("teeth_upper",), ("teeth_lower",), ("mouth_cavity", "tongue")  # what lies inside, part by part
EYES = "eye_left", "eye_right", "eye_cavity"
RIGHT_EYE, LEFT_EYE = len(MOUTH) + 1, len(MOUTH) + 2  # numbers, after those of the mouth's parts
MOUTH_SHOWN, EYE_SHOWN = (0.15, 0.4), (0.3, 0.6)  # share of what is seen of a mouth's part or an eye, up to which a
# photo does not tell what that looks like, and from which on it does: its lips and lids are no teeth and eyes
INNER_LIPS = slice(60, 68)  # of the 68 landmarks
TEETH_BEHIND_LIPS, DARKER_WITHIN = 0.008, 0.018  # metres; within the latter a mouth's inside is 1/e as light (sRGB)
DARKEST = 0.2  # share of light that is left: a black hole would stand beside what the photo shows of a tongue


@dataclass
class SourceMaps:
    """
    B source pictures with what their reconstructed heads look like in them, S pixels wide.

    Args:
        photo: (B, 3, H, H) sRGB in [0, 1], the crop at its own resolution.
        image: (B, 3, S, S) the same, smaller.
        normal: (B, 3, S, S) camera frame, 0 outside the head.
        light: (B, 3, S, S) sRGB: what the head looks like if it is all skin under the fitted light.
        mask: (B, 1, S, S) 1 where the head is seen.
        scene: (B, 3, H, H) sRGB: the photo without the head and short hair, in whose place goes on what surrounds them;
            small_scene: (B, 3, S, S) the same, smaller; None as `texture`.
        depth: (B, 1, H, H) metres, of `hiding_depth`.
        inside: (B, 1, H, H) number of the mouth's part or the eye that is seen there, 0 where none is.
        points: (B, V, 3) projected vertices: x, y in picture widths, metres.
        front: (B, F) the triangles that turn their front to the camera.
        mirrored_points, mirrored_front: the same with each vertex where that of the face's other half is.
        harmonics: (B, 9, 3) the fitted light, skin colour included, linear RGB.
        texture: (B, 3, T, T) of `TextureReader`: all of the head; None where it is not to be completed.
        sheet: the hair round the heads; None where none is found, or as `texture`.
        view: the heads and their cameras.
    """

    photo: torch.Tensor
    image: torch.Tensor
    normal: torch.Tensor
    light: torch.Tensor
    mask: torch.Tensor
    scene: torch.Tensor | None
    small_scene: torch.Tensor | None
    depth: torch.Tensor
    inside: torch.Tensor
    points: torch.Tensor
    front: torch.Tensor
    mirrored_points: torch.Tensor
    mirrored_front: torch.Tensor
    harmonics: torch.Tensor
    texture: torch.Tensor | None
    sheet: HairSheet | None
    view: HeadView


@dataclass
class Surface:
    """
    What B driven pictures of W x W pixels see of the head.

    Args:
        correspondence: where it is in the source.
        mirrored: where the same place of the face's other half is in the source; None where the head is not completed.
        albedo: (B, 3, W, W) sRGB of an average head, darkened in its hollows; 0 outside the head.
        mask: (B, 1, W, W) the head; mouth, eyes: (B, 1, W, W) what is seen between lips and between lids.
        unseen: (B, 1, W, W) in [0, 1]: eyes and parts of the mouth's inside of which the source shows little.
        shown: (B, 1, W, W) in [0, 1]: what of the mouth's other parts the source shows too.
    """

    correspondence: Correspondence
    mirrored: Correspondence | None
    albedo: torch.Tensor
    mask: torch.Tensor
    mouth: torch.Tensor
    eyes: torch.Tensor
    unseen: torch.Tensor
    shown: torch.Tensor


@dataclass
class DrivenMaps:
    """
    The heads of B sources in driven poses and expressions.

    Args:
        normal, light: (B, 3, S, S) as in `SourceMaps`.
        whole: (B, 3, S, S) sRGB: the source's texture on the head; None where it is not completed.
        surface: at S pixels; fine: at the photo's H pixels.
        hair: the source's, at S pixels; None where none is found.
    """

    normal: torch.Tensor
    light: torch.Tensor
    whole: torch.Tensor | None
    surface: Surface
    fine: Surface
    hair: MovedHair | None


def relit(source: SourceMaps, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """
    Light (B, 9, 3) for `ConditionRenderer.driven`: the sources' own, changed from one to another.

    What differs between the two as they were reconstructed is added: so what is wrong about both alike cancels, and a
    face whose light does not change stays as it is.

    Args:
        source: maps of the photos.
        before, after: (B, 9, 3) light that was reconstructed in the photos and in other pictures, without skin colour.
    """
    return source.harmonics + (after - before) * (source.harmonics[:, :1] / before[:, :1].clamp_min(0.1))


def resized(photo: torch.Tensor, size: int) -> torch.Tensor:
    """Square pictures (B, C, H, H), `size` wide."""
    if photo.shape[3] == size:
        return photo
    return F.interpolate(photo, (size, size), mode="bilinear", antialias=True, align_corners=False)


def without_head(photo: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """
    Photos in which what surrounds the heads goes on in their place.

    Args:
        photo: (B, 3, H, H) sRGB.
        head: (B, 1, H, H) 1 where it is seen, or its hair.
    """
    margin = 1.6 * MARGIN  # ears and buns stand out farther than the mesh, and would stay beside a turned head
    # Either: a little of what may be hair would outweigh all that is farther off.
    around = grown(head, AROUND) * (grown(head, 2 * margin) < 0.5)
    width = 2 * round(MARGIN * head.shape[3]) + 1
    head = F.avg_pool2d(grown(head, margin), width, 1, width // 2, count_include_pad=False)
    return torch.lerp(photo, spread(photo * around, around), head)


class ConditionRenderer:
    """
    Draws source and driven maps of a morphable model's heads.

    Args:
        model: the morphable model; the maps are drawn where it is.
        size: S, width of the maps in pixels.
    """

    def __init__(self, model: MorphableModel, size: int):
        self.model, self.size = model, size
        self.fits_light = model.select_triangles("skin", "lips")
        self.inside = sum(number * model.select_triangles(*names) for number, names in enumerate(MOUTH, 1))
        eyes = torch.where(model.mean_vertices[model.triangles[:, 0], 0] < 0, RIGHT_EYE, LEFT_EYE)
        self.inside += eyes * model.select_triangles(*EYES)
        self.in_mouth = model.select_vertices(*sum(MOUTH, ())).float()
        self.in_ears = model.select_triangles("ear")
        self.albedo = model.mean_albedo[None]
        self.textures = TextureReader(model)

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def source(self, photo: torch.Tensor, view: HeadView, textured: bool = True) -> SourceMaps:
        """
        Args:
            photo: (B, 3, H, H) sRGB in [0, 1].
            view: the heads as they are in the photos.
            textured: whether the heads are to be completed later.
        """
        image = resized(photo, self.size)
        points = project(view.vertices, view.rotation, view.translation, view.K)
        mirrored = points[:, self.model.mirror_vertices]
        normals = vertex_normals(view.vertices, self.model.triangles) @ view.rotation.transpose(1, 2)
        fragments = self._rasterize(points, self.size)
        normal = F.normalize(interpolate(fragments, self.model.triangles, normals), dim=-1).movedim(-1, 1)
        harmonics = self.fit(image, normal, fragments)
        mask = (fragments.triangle >= 0)[:, None].to(image.dtype)
        closer = fragments if photo.shape[3] == self.size else self._rasterize(points, photo.shape[3])
        small_depth, depth = hiding_depth(fragments), hiding_depth(closer)
        texture = sheet = scene = small_scene = None
        if textured:
            skin = mask * self.fits_light[fragments.triangle.clamp_min(0)][:, None]
            hair = find_hair(image, mask, skin, points[:, self.model.chin_and_crown, :2])
            texture = self.textures.read(image, mask, hair, points, normals, depth, harmonics, view)
            ears = mask * self.in_ears[fragments.triangle.clamp_min(0)][:, None]
            sheet = find_sheet(hair, small_depth, ears, view)
            head = (depth > 0).to(photo.dtype)
            if sheet is not None:
                head = torch.maximum(head, enlarge(sheet.short, head.shape[2:]))
            scene = without_head(photo, head)
            small_scene = resized(scene, self.size)
        return SourceMaps(
            photo=photo,
            image=image,
            normal=normal,
            light=self._light_map(normal, fragments, harmonics),
            mask=mask,
            scene=scene,
            small_scene=small_scene,
            depth=depth,
            inside=self._inside(closer)[:, None].to(photo.dtype),
            points=points,
            front=seen_from_front(points, self.model.triangles),
            mirrored_points=mirrored,
            mirrored_front=seen_from_front(mirrored, self.model.triangles, mirrored=True),
            harmonics=harmonics,
            texture=texture,
            sheet=sheet,
            view=view,
        )

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def driven(
        self,
        source: SourceMaps,
        view: HeadView,
        light: torch.Tensor | None = None,
        fit_to: torch.Tensor | None = None,
        completed: bool = True,
    ) -> DrivenMaps:
        """
        Args:
            source: of the same B heads.
            view: the driven heads. Their necks stay with the source's body.
            light: (B, 9, 3) in place of the light fitted to the source.
            fit_to: (B, 3, S, S) pictures of the driven heads, to whose pixels light is fitted instead.
            completed: whether what the source does not show of them is wanted too; its maps need a texture for that.
        """
        model = self.model
        vertices = model.twist_neck(view.vertices, view.rotation.transpose(1, 2) @ source.view.rotation)
        points = project(vertices, view.rotation, view.translation, view.K)
        normals = vertex_normals(vertices, model.triangles) @ view.rotation.transpose(1, 2)
        fragments = self._rasterize(points, self.size)
        normal = F.normalize(interpolate(fragments, model.triangles, normals), dim=-1).movedim(-1, 1)
        uv = self._texture_places(fragments)
        occlusion = self._occlusion(vertices)
        surface = fine = self._surface(source, fragments, uv, occlusion, completed)
        if source.photo.shape[3] != self.size:
            closer = self._rasterize(points, source.photo.shape[3])
            fine = self._surface(source, closer, self._texture_places(closer), occlusion, completed, surface)
        if fit_to is not None:
            light = self.fit(fit_to, normal, fragments)
        elif light is None:
            light = source.harmonics
        whole = None
        if completed:
            whole = self.textures.show(source.texture, uv, normal.movedim(1, -1), light) * surface.mask
        hair = None
        if source.sheet is not None:
            axis = points[:, model.chin_and_crown, :2]
            hair = move(source.sheet, source.view, view, fragments.depth[:, None], axis)
        return DrivenMaps(normal, self._light_map(normal, fragments, light), whole, surface, fine, hair)

    def fit(self, image: torch.Tensor, normal: torch.Tensor, fragments) -> torch.Tensor:
        """(B, 9, 3) light under which a surface that is all of one colour looks most like the skin in `image`."""
        skin = self.fits_light[fragments.triangle.clamp_min(0)] & (fragments.triangle >= 0)
        step = max(1, self.size // LIGHT_PIXELS)
        image, normal, skin = (
            F.avg_pool2d(plane, step)
            for plane in (srgb_to_linear(image), normal, skin[:, None].to(image.dtype))
        )
        skin = skin * (skin > 0.99)
        return fit_light(torch.ones_like(image), F.normalize(normal, dim=1), image, skin, ridge=0.02)

    def _rasterize(self, points, size):
        return rasterize(points * points.new_tensor([size, size, 1.0]), self.model.triangles, size, size)

    def _inside(self, fragments) -> torch.Tensor:
        """(B, H, W): the number of the mouth's part or the eye that pixels see, 0 where they see none."""
        return self.inside[fragments.triangle.clamp_min(0)] * (fragments.triangle >= 0)

    @staticmethod
    def _light_map(normal, fragments, harmonics):
        light = shade(normal.movedim(1, -1), harmonics).movedim(-1, 1)
        return linear_to_srgb(light.clamp(0, 1)) * (fragments.triangle >= 0)[:, None]

    def _texture_places(self, fragments) -> torch.Tensor:
        """(B, H, W, 2): the texture coordinates that pixels see."""
        return interpolate(fragments, self.model.triangles_uv, self.model.uv[None])

    def _occlusion(self, vertices: torch.Tensor) -> torch.Tensor:
        """(B, V, 1): how much light reaches vertices (B, V, 3), face frame; in a mouth less, farther from the lips."""
        model = self.model
        lips = vertices[:, model.landmark_vertices[INNER_LIPS], 2].mean(1, keepdim=True)
        depth = (lips - vertices[..., 2] - TEETH_BEHIND_LIPS).clamp_min(0) * self.in_mouth
        usual = model.ambient_occlusion
        return torch.maximum(usual * torch.exp(-depth / DARKER_WITHIN), usual.clamp_max(DARKEST))[..., None]

    def _surface(
        self,
        source: SourceMaps,
        fragments,
        uv: torch.Tensor,
        occlusion: torch.Tensor,
        completed: bool,
        coarse: Surface | None = None,
    ) -> Surface:
        model = self.model
        seen = fragments.triangle >= 0
        # all at once: most of the time goes into finding a pixel's triangle
        points = torch.cat((source.points, source.mirrored_points), 2).expand(len(uv), -1, -1)
        values = interpolate(fragments, model.triangles, torch.cat((points, occlusion), 2))
        points, mirrored_points, hollow = values.split((3, 3, 1), 3)
        texture = self.albedo.expand(len(uv), -1, -1, -1)
        albedo = F.grid_sample(texture, uv * 2 - 1, padding_mode="border", align_corners=False)

        def found(points, front, coarse):
            front, depth = (plane.expand(len(uv), *plane.shape[1:]) for plane in (front, source.depth))
            return dense_correspondence(fragments, points, depth, front, coarse)

        correspondence = found(points, source.front, None if coarse is None else coarse.correspondence)
        inside = self._inside(fragments)
        parts = source.inside.expand(len(uv), -1, -1, -1)
        same = F.grid_sample(parts, correspondence.grid, mode="nearest", align_corners=False)[:, 0] == inside
        shown = correspondence.visible * same[:, None]
        unseen = self._unseen(inside, shown)
        mouth = (inside > 0) & (inside < RIGHT_EYE)
        mirrored = None
        if completed:
            mirrored = found(mirrored_points, source.mirrored_front, None if coarse is None else coarse.mirrored)
        return Surface(
            correspondence=correspondence,
            mirrored=mirrored,
            albedo=albedo * hollow.movedim(-1, 1),
            mask=seen[:, None].to(uv.dtype),
            mouth=mouth[:, None].to(uv.dtype),
            eyes=(inside >= RIGHT_EYE)[:, None].to(uv.dtype),
            unseen=unseen,
            shown=shown * mouth[:, None] * (1 - unseen),
        )

    @staticmethod
    def _unseen(inside: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """`Surface.unseen`, by the numbers (B, W, W) of parts, and which of them (B, 1, W, W) the source shows."""
        numbers, values = inside.flatten(1), shown.flatten(1)
        counts = values.new_zeros(len(values), LEFT_EYE + 1).scatter_add(1, numbers, torch.ones_like(values))
        known = torch.zeros_like(counts).scatter_add(1, numbers, values) / counts.clamp_min(1)
        unseen = 1 - torch.cat((ramp(known[:, :RIGHT_EYE], MOUTH_SHOWN), ramp(known[:, RIGHT_EYE:], EYE_SHOWN)), 1)
        unseen[:, 0] = 0  # neither mouth nor eye
        return torch.take_along_dim(unseen, numbers, 1).view_as(shown)
