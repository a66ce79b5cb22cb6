"""Pictures blended of layers: moved pixels of a photo, at the photo's own resolution, and painted ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.utils import BaseOutput
from torch import nn

from lirec.geometry import linear_to_srgb
from lirec.geometry.lighting import C0
from lirec.geometry.masks import grown, masked_mean, ramp
from lirec.geometry.view_synthesis import enlarge, pixel_grid, warp
from lirec.models.conditions import MARGIN, SKIN, DrivenMaps, SourceMaps, Surface

HIDDEN = 10.0
"""How much a share is lowered of what a head hides: no network outweighs it, however unsure of all other layers."""
ON_HEAD = ("completed", "interior")  # layers that show nothing but the head
SHIFT = 0.4  # half picture widths, at most, by which moved pixels are shifted besides
LUMA = (0.299, 0.587, 0.114)
CONTRAST = 1.6  # times as light or as dark as what goes on from the photo, within which pixels are painted
SHOWN = (0.2, 0.5)  # share of a mouth's inside that a photo must show to tell the tone of all of it: lips are not teeth
MOUTH_TINT, EYE_TINT = (1.75, 1.65, 1.55), (1.0, 0.9, 0.8)  # of what is rendered: the model's hollows are darker than
# people's, its teeth bluer, and its irises, the average of all, greyer than most
BLACK = 0.1  # sRGB, added before such ratios: what is nearly black has no colour to tell


@dataclass
class LayeredOutput(BaseOutput):
    """
    A drawn picture, and what it is blended of.

    Args:
        image (`torch.Tensor` of shape `(B, 3, H, H)`): sRGB; with the `rgb` output H is S.
        generated (`torch.Tensor` of shape `(B, 3, S, S)`): the painted picture alone.
        weights (`torch.Tensor` of shape `(B, N, H, H)`): share of each layer, and what is left to 1 is hair round the
            head; None with the `rgb` output.
        offsets (`torch.Tensor` of shape `(B, 4, S/2, S/2)`): of the first and background layers, in [-1, 1].
    """

    image: torch.Tensor
    generated: torch.Tensor
    weights: torch.Tensor | None = None
    offsets: torch.Tensor | None = None


def luma(colours: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W), how light colours (B, 3, H, W) are."""
    return (colours * colours.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def even_light(source: SourceMaps) -> torch.Tensor:
    """(B, 3, 1, 1) sRGB: the skin of the photos under their light's mean."""
    return linear_to_srgb((C0 * source.harmonics[:, 0, :, None, None]).clamp(0.01, 1))


def paint(x: torch.Tensor) -> torch.Tensor:
    """A network's output of any size to sRGB; black and white are within reach."""
    return torch.sigmoid(2 * x.float()) * 1.1 - 0.05


def softened(rendered: torch.Tensor) -> torch.Tensor:
    """Rendered colours (B, 3, H, W) without the stairs and dots of what is thinner than a pixel."""
    padded = F.pad(rendered, (1, 1, 1, 1))
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9  # on a CPU `avg_pool2d` takes ten times as long


def blend(
    pictures: Sequence[torch.Tensor], shares: torch.Tensor, brightness: Sequence[torch.Tensor | float] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Mix N pictures (B, 3, H, W) by shares (B, N, h, w), of which the softmax is taken.

    Args:
        brightness: factors of the pictures, (B, 1 or 3, H, W); 1 when None.

    Returns:
        The picture (B, 3, H, W), and the weights (B, N, H, W).
    """
    weights = torch.softmax(2 * enlarge(shares, pictures[0].shape[2:]), 1)
    mixed = pictures[0].new_zeros(())
    for picture, weight, factor in zip(pictures, weights.split(1, 1), brightness or [1.0] * len(pictures), strict=True):
        mixed = torch.addcmul(mixed, weight * factor, picture)
    return mixed, weights


def put_in_place(shares: torch.Tensor, names: Sequence[str], head: torch.Tensor) -> torch.Tensor:
    """
    Shares (B, N, S, S) of named layers, the background's lowered where it lies behind a head, and those of what is of
    the head alone where there is none.

    A tenth of a photo that stays where it is shows as the ghost of its mouth on a turned cheek, and what is of the head
    alone is black beside it.

    Args:
        head: (B, 1, S, S), 1 where it is. Its rim, where it may be a little wrong, is left alone.
    """
    width = 2 * (head.shape[3] // 32) + 1
    inside = 2 * F.avg_pool2d(head, width, 1, width // 2, count_include_pad=False) - 1
    for places, layers in ((inside, ("background",)), (-inside, ON_HEAD)):
        lowered = shares.new_tensor([HIDDEN * (name in layers) for name in names])
        shares = shares - places.clamp_min(0) * lowered[:, None, None]
    return shares


def tinted(painted: torch.Tensor, source: SourceMaps, driven: DrivenMaps) -> torch.Tensor:
    """
    Painted pixels (B, 3, S, S) in the colours that go on from the photos to where these show nothing.

    A network that saw rendered faces alone paints green shadows in photos. What it paints is as light and dark as it
    likes, within limits, but of a head it has the colours of the completed texture, and of what the head has left
    those of the scene. Round a head whose hair is known, it is hair or the scene, or between the two.

    Args:
        painted: sRGB.
        source: maps of the photos, one row or B; driven: of their heads.
    """
    surface, colours = driven.surface, source.small_scene
    where = source.mask * (1 - surface.mask)
    if driven.whole is not None:
        skin = surface.mask * (1 - surface.mouth) * (1 - surface.eyes)
        colours, where = torch.where(surface.mask > 0, driven.whole, colours), where + skin
    light, usual = (luma(picture) + BLACK for picture in (painted, colours))
    ratio = (light / usual).clamp(1 / CONTRAST, CONTRAST)
    result = torch.lerp(painted, (colours + BLACK) * ratio - BLACK, where)
    if driven.hair is not None:
        towards = driven.hair.colour - source.small_scene
        along = ((painted - source.small_scene) * towards).sum(1, keepdim=True)
        share = (along / (towards * towards).sum(1, keepdim=True).clamp_min(1e-4)).clamp(0, 1)
        result = torch.lerp(result, source.small_scene + share * towards, driven.hair.around)
    return result


def in_its_light(rendered: torch.Tensor, source: SourceMaps) -> torch.Tensor:
    """
    Rendered colours (B, 3, H, W), sRGB, in the tint of the photos' light: teeth are not blue beside a warm cheek.

    Of what makes the skin differ from the average skin in colour, half (of its logarithm) is taken to be light.
    """
    tint = (even_light(source) / rendered.new_tensor(SKIN)[:, None, None]).sqrt()
    return rendered * (tint / luma(tint))


def with_own_teeth(image: torch.Tensor, warped: torch.Tensor, surface: Surface) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Pictures (B, 3, H, H) in whose mouths is what the photos show there, moved, and what they do not show has its tone.

    A network that saw rendered teeth alone turns a photo's own into a grey blur.

    Args:
        image: sRGB; warped: the photos, moved with the heads.
        surface: of as many pixels.

    Returns:
        The pictures, and the share (B, 1, H, H) of the photos' own pixels in them.
    """
    own, painted = (masked_mean(picture, surface.shown)[..., None, None] + BLACK for picture in (warped, image))
    enough = ramp(masked_mean(surface.shown, surface.mouth), SHOWN)[..., None, None]
    change = enough * ((own / painted).clamp(1 / CONTRAST, CONTRAST) - 1)
    shown = softened(surface.shown)
    return torch.lerp(image * (1 + softened(surface.mouth) * change), warped, shown), shown


def with_unseen_parts(
    image: torch.Tensor, rendered: torch.Tensor, source: SourceMaps, driven: DrivenMaps
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Pictures (B, 3, H, H) in which eyes and parts of mouths that the photos do not show are rendered ones.

    What is moved with an eye that opens is lids and lashes, and a network that is unsure of a mouth paints a grey blur.
    Eyes are as light as the head is there. Of what makes its skin darker than the average, half (of its logarithm) is
    again taken to be light.

    Args:
        image: sRGB; rendered: eyes and mouths in the tint of the photos' light.

    Returns:
        The pictures, and the share (B, 1, H, H) of what is rendered in them.
    """
    unseen, even = softened(driven.fine.unseen), luma(even_light(source))
    usual = luma(image.new_tensor(SKIN)[None, :, None, None])
    there = torch.lerp(even, luma(driven.light), driven.surface.eyes)
    light = enlarge(softened(there), image.shape[2:]) / (even * usual).sqrt()
    mouth, eyes = (image.new_tensor(tint)[:, None, None] for tint in (MOUTH_TINT, EYE_TINT))
    return torch.lerp(image, rendered * light * torch.lerp(mouth, eyes, driven.fine.eyes), unseen), unseen


def near_head(driven: DrivenMaps) -> torch.Tensor:
    """(B, 1, S, S) in [0, 1]: where driven heads and their hair are, with a margin."""
    near = grown(driven.surface.mask, MARGIN)
    return near if driven.hair is None else torch.maximum(near, driven.hair.extent)


class Adjustments:
    """
    What a head's bounded output changes of N pictures: how light they are, how warm the light in the last of them is,
    and by how much two are shifted.

    Moved pixels keep their colour: factors of single channels are free where a layer's share is small, and show as
    rainbows in photos. What is rendered does not know the light's colour.

    Args:
        raw: (B, 5 + N, h, w).
        size: height and width of the pictures.

    Attributes:
        offsets: (B, 4, h, w), in [-1, 1].
        shift, stretch: (B, H, W, 2), the offsets of a moved picture and of the background.
        brightness: N factors (B, 1, H, W), half to double; the last is (B, 3, H, W), with its warmth.
    """

    def __init__(self, raw: torch.Tensor, size: tuple[int, int]):
        bounded = torch.tanh(raw.float())
        self.offsets = bounded[:, :4]
        offsets, brightness, warmth = enlarge(bounded, size).split((4, bounded.shape[1] - 5, 1), 1)
        self.shift, self.stretch = (SHIFT * offsets[:, :2]).movedim(1, -1), (0.6 * offsets[:, 2:]).movedim(1, -1)
        *moved, rendered = torch.exp(0.7 * brightness).split(1, 1)
        warmth = torch.exp(0.02 * warmth)
        self.brightness = [*moved, rendered * torch.cat((warmth, torch.ones_like(warmth), 1 / warmth), 1)]

    def moved(self, source: SourceMaps, driven: DrivenMaps) -> torch.Tensor:
        """
        The photos (B, 3, H, H) moved with the heads and shifted.

        What moves along beyond a head is scenery and long hair, and never the head itself: a strip of its cheek would
        stay beside a head that turns away. Nor is it short hair, which its sheet shows, but at the edge of that.
        """
        count, grid = len(self.offsets), driven.surface.correspondence.grid
        head = source.mask if source.sheet is None else torch.maximum(source.mask, source.sheet.short)
        head = grown(head, MARGIN)
        photo, scene, head = (plane.expand(count, -1, -1, -1) for plane in (source.photo, source.small_scene, head))
        picture = warp(photo, driven.fine.correspondence.grid + self.shift)
        grid = grid + SHIFT * enlarge(self.offsets[:, :2], grid.shape[1:3]).movedim(1, -1)
        own = warp(head, grid) * (1 - near_head(driven))
        own = ramp(softened(own), (0.4, 0.7))  # no dots along a head's edge
        scene, own = (enlarge(plane, picture.shape[2:]) for plane in (warp(scene, grid), own))
        return torch.lerp(picture, scene, own)

    def background(self, source: SourceMaps, driven: DrivenMaps) -> torch.Tensor:
        """The photos (B, 3, H, H) where they are, stretched over what the heads have left, where the scene goes on."""
        near = enlarge(near_head(driven), source.photo.shape[2:])
        still = torch.lerp(source.scene, source.photo, near)
        return warp(still, pixel_grid(*still.shape[2:], still) + self.stretch)


def compose(
    change: Adjustments,
    layers: torch.Tensor,
    moved: dict[str, torch.Tensor],
    source: SourceMaps,
    driven: DrivenMaps,
    names: Sequence[str],
    relit: Sequence[str],
) -> LayeredOutput:
    """
    Blend moved pictures of a photo with its background, the rendered inside of mouth and eyes, and painted pixels.

    Args:
        change: of the pictures.
        layers: (B, 3 + N, S, S) a network's output: what it paints, and the shares of the layers.
        moved: pictures (B, 3, H, H) by name.
        source: maps of the photos, one row or B; driven: of their heads.
        names: of the N layers, in the order of their shares; relit: those of which `change` has the brightness.
    """
    painted, shares = layers.split((3, len(names)), 1)
    generated = tinted(paint(painted), source, driven)
    pictures = moved | {
        "background": change.background(source, driven),
        "interior": in_its_light(softened(driven.fine.albedo), source),
        "generated": enlarge(generated, source.photo.shape[2:]),
    }
    brightness = dict.fromkeys(names, 1.0) | dict(zip(relit, change.brightness, strict=True))
    shares = put_in_place(shares, names, driven.surface.mask)
    image, weights = blend([pictures[name] for name in names], shares, [brightness[name] for name in names])
    image, shown = with_own_teeth(image, moved["warped"], driven.fine)
    image, unseen = with_unseen_parts(image, pictures["interior"], source, driven)
    for layer, share in (("warped", shown), ("interior", unseen)):
        alone = weights.new_tensor([name == layer for name in names])[:, None, None]
        weights = torch.lerp(weights, alone.expand_as(weights), share)
    if driven.hair is not None:
        size = image.shape[2:]
        share, grid = enlarge(softened(driven.hair.share), size), enlarge(driven.hair.grid.movedim(-1, 1), size)
        hair = warp(source.photo.expand(len(image), -1, -1, -1), grid.movedim(1, -1))
        image = torch.lerp(image, hair, share)
        weights = weights * (1 - share)
    return LayeredOutput(image=image, generated=generated, weights=weights, offsets=change.offsets)


def begin_small(*heads: nn.Conv2d) -> None:
    """Last layers that say next to nothing at first."""
    for head in heads:
        nn.init.normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)
