"""DCNet: a photo and the maps of a driven head become a picture (JR2Net, "Face reenactment", Figure 3)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from lirec.geometry.view_synthesis import enlarge, pixel_grid, warp
from lirec.models.conditions import SKIN, DrivenMaps, SourceMaps, Surface
from lirec.models.layered_output import Adjustments, LayeredOutput, begin_small, compose, paint, softened
from lirec.models.layers import ModulatedBlock, convolution, for_network

LAYERS = ("warped", "completed", "background", "interior", "generated")
"""What `output="layers"` blends: the source's pixels moved with the mesh and shifted a little; those of the face's
other half and, where that is hidden too, the texture that goes on from what is seen; the source's pixels where they are
(what surrounds the head goes on where it was, and is shifted); the rendered inside of mouth and eyes; and painted
pixels."""
RELIT = ("warped", "completed", "interior")  # layers that get lighter and darker; the last also warmer and cooler
CONDITIONS = ("full", "rendered", "no_warp", "no_light")


@dataclass
class SourceFeatures:
    """
    What is computed once a source picture, by `DCNet.encode`.

    Args:
        texture: (B, C, S/2, S/2), (B, 2C, S/4, S/4) and (B, 3C, S/8, S/8).
        context: (B, 2C, S/8, S/8).
    """

    texture: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    context: torch.Tensor


class FaceTextureEncoder(nn.Module):
    """Image, light and normals of the source to features of its texture; the light is there to be removed."""

    def __init__(self, width: int, channels: int = 10):
        super().__init__()
        self.stages = nn.ModuleList(
            (
                convolution(channels, width, stride=2, kernel=5),
                convolution(width, 2 * width, stride=2),
                convolution(2 * width, 3 * width, stride=2),
            )
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return tuple(features)


class ContextEncoder(nn.Module):
    """The whole source picture, seen from afar: more down-sampling, dilated convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.down = nn.Sequential(
            convolution(3, width, stride=2, kernel=5),
            convolution(width, 2 * width, stride=2),
            convolution(2 * width, 2 * width, stride=2),
            convolution(2 * width, 2 * width, stride=2),
        )
        self.dilated = nn.Sequential(
            convolution(2 * width, 2 * width, dilation=2), convolution(2 * width, 2 * width, dilation=4)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.down(image)
        x = x + self.dilated(x)
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class ConditionalGenerator(nn.Module):
    """Features to S x S features, whose normalised activations are modulated by the conditions at each scale."""

    def __init__(self, width: int, condition_channels: int):
        super().__init__()
        self.enter = nn.Conv2d(5 * width, 3 * width, 3, padding=1)
        self.at_eighth = nn.ModuleList(ModulatedBlock(3 * width, condition_channels) for _ in range(2))
        self.to_quarter = nn.Conv2d(5 * width, 2 * width, 3, padding=1)
        self.at_quarter = nn.ModuleList(ModulatedBlock(2 * width, condition_channels) for _ in range(2))
        self.to_half = nn.Conv2d(3 * width, width, 3, padding=1)
        self.at_half = ModulatedBlock(width, condition_channels)
        self.to_full = nn.Conv2d(width, width // 2, 1)
        self.at_full = nn.Conv2d(width // 2 + condition_channels, width, 3, padding=1)

    def forward(self, texture, context, condition) -> tuple[torch.Tensor, torch.Tensor]:
        """Features at S/2 and at S."""

        def double(x):
            return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

        half = F.avg_pool2d(condition, 2)
        quarter = F.avg_pool2d(half, 2)
        eighth = F.avg_pool2d(quarter, 2)
        x = self.enter(torch.cat((texture[2], context), 1))
        for block in self.at_eighth:
            x = block(x, eighth)
        x = self.to_quarter(torch.cat((double(x), texture[1]), 1))
        for block in self.at_quarter:
            x = block(x, quarter)
        x = self.at_half(self.to_half(torch.cat((double(x), texture[0]), 1)), half)
        full = self.at_full(torch.cat((double(self.to_full(x)), condition), 1))
        return x, F.leaky_relu(full, 0.1)


class DCNet(ModelMixin, ConfigMixin):
    r"""
    Draws the source's head in a driven pose and expression.

    Args:
        image_size (`int`): S, at which the network works. The `layers` output is blended at the photo's resolution.
        width (`int`): C, channels at half the resolution.
        output (`str`): `"layers"` blends moved pixels of the photo with painted ones; `"rgb"`, as in the paper,
            paints all.
        condition (`str`): what the generator is told: `"full"`, or for the paper's Table 5 `"rendered"` (Ours-R: a
            rendered picture only), `"no_warp"` (Ours-P: no warped image), `"no_light"` (Ours-L: nor any light).
        crop_scale (`float`): side of the source's crop over the longer side of the box round the landmarks.
        crop_rise (`float`): how far the crop's middle is above the box's, in crop sides.
        more_channels (`int`): of planes that are given besides the maps; LI-Net's landmark images.
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 256,
        width: int = 64,
        output: str = "layers",
        condition: str = "full",
        crop_scale: float = 2.2,
        crop_rise: float = 0.1,
        more_channels: int = 0,
    ):
        super().__init__()
        if output not in ("layers", "rgb") or condition not in CONDITIONS:
            raise ValueError(f"output is 'layers' or 'rgb', and condition one of {', '.join(CONDITIONS)}.")
        if output == "layers" and condition != "full":
            raise ValueError(f"condition={condition!r} has no warped image to blend: it needs output='rgb'.")
        # The paper has its row without light before it comes to warped images.
        channels = {"full": 29, "no_light": 16, "no_warp": 19, "rendered": 8}[condition] + more_channels
        self.texture_encoder = FaceTextureEncoder(width)
        self.context_encoder = ContextEncoder(width)
        self.generator = ConditionalGenerator(width, channels)
        if output == "layers":
            self.to_adjustments = nn.Conv2d(width, 5 + len(RELIT), 3, padding=1)
            self.to_layers = nn.Conv2d(width, 3 + len(LAYERS), 3, padding=1)
            begin_small(self.to_adjustments, self.to_layers)
            with torch.no_grad():
                self.to_layers.bias[3 + LAYERS.index("warped")] = 1.0  # begin with warped pixels
        else:
            self.to_rgb = nn.Conv2d(width, 3, 3, padding=1)

    def encode(self, source: SourceMaps) -> SourceFeatures:
        """The part of the work that is done once a source picture."""
        image = source.image * 2 - 1
        texture = torch.cat((image, source.normal, (source.light * 2 - 1) * source.mask, source.mask), 1)
        texture, image = for_network(texture, self), for_network(image, self)
        return SourceFeatures(self.texture_encoder(texture), self.context_encoder(image))

    def forward(
        self,
        source: SourceMaps,
        driven: DrivenMaps,
        features: SourceFeatures | None = None,
        more: torch.Tensor | None = None,
    ) -> LayeredOutput:
        """
        Args:
            source, driven: maps drawn by a `ConditionRenderer` of size `image_size`; source may have one row only.
            features: of `encode(source)`, where they are known already.
            more: (B, more_channels, S, S) planes besides the maps.
        """
        features = features or self.encode(source)
        grid = driven.surface.correspondence.grid
        count = len(grid)
        texture = []
        for level, step in zip(features.texture, (2, 4, 8), strict=True):
            small = F.avg_pool2d(grid.permute(0, 3, 1, 2), step).permute(0, 2, 3, 1)
            texture.append(for_network(warp(level.expand(count, -1, -1, -1), small), self))
        condition = self._condition(source, driven)
        if more is not None:
            condition = torch.cat((condition, more), 1)
        context = features.context.expand(count, -1, -1, -1)
        half, full = self.generator(texture, context, for_network(condition, self))
        if self.config.output == "rgb":
            image = paint(self.to_rgb(full))
            return LayeredOutput(image=image, generated=image)
        return self._blend(self.to_adjustments(half), self.to_layers(full).float(), source, driven)

    def _condition(self, source: SourceMaps, driven: DrivenMaps) -> torch.Tensor:
        """(B, channels, S, S), about -1 to 1, each 0 outside the head."""
        surface, kind = driven.surface, self.config.condition
        count = len(surface.mask)
        inside = surface.mouth + surface.eyes
        if kind == "rendered":
            shaded = (surface.albedo / surface.albedo.new_tensor(SKIN)[:, None, None] * driven.light).clamp(0, 1)
            rendered = [(shaded * 2 - 1) * surface.mask, surface.mask]
            still = [source.image * 2 - 1, source.mask]
            return torch.cat([*rendered, *(plane.expand(count, -1, -1, -1) for plane in still)], 1)
        planes = [driven.normal, surface.mask, surface.mouth, surface.eyes, surface.albedo * inside]
        planes += [(source.image * 2 - 1).expand(count, -1, -1, -1), source.mask.expand(count, -1, -1, -1)]
        # What the head looked like before tells its outline in the source from the background.
        planes += [source.normal.expand(count, -1, -1, -1)]
        if kind != "no_light":
            planes += [(driven.light * 2 - 1) * surface.mask]
        if kind == "full":
            photo = source.image.expand(count, -1, -1, -1)
            grid = surface.correspondence.grid
            motion = (grid - pixel_grid(*grid.shape[1:3], grid)).permute(0, 3, 1, 2)
            completed = (complete(photo, driven, surface) * 2 - 1) * surface.mask
            planes += [warp(photo, grid) * 2 - 1, surface.correspondence.visible, (motion * 3).clamp(-3, 3)]
            planes += [completed, surface.mirrored.visible]
        return torch.cat(planes, 1)

    @staticmethod
    def _blend(adjustments, layers, source: SourceMaps, driven: DrivenMaps) -> LayeredOutput:
        change = Adjustments(adjustments, source.photo.shape[2:])
        photo = source.photo.expand(len(layers), -1, -1, -1)
        moved = {"warped": change.moved(source, driven), "completed": complete(photo, driven, driven.fine)}
        return compose(change, layers, moved, source, driven, LAYERS, RELIT)


def complete(photo: torch.Tensor, driven: DrivenMaps, surface: Surface) -> torch.Tensor:
    """
    What photos do not show of a head.

    Args:
        photo: (B, 3, H, H) sRGB.
        driven: maps with `whole`; surface: one of its two, W pixels wide.

    Returns:
        (B, 3, W, W) sRGB: the other half of the face where it is seen, and the texture elsewhere.
    """
    seen, size = softened(surface.mirrored.visible), surface.mask.shape[2:]
    whole = enlarge(driven.whole, size) / enlarge(driven.surface.mask, size).clamp_min(0.1)  # its rim is not dark
    return torch.lerp(whole, warp(photo, surface.mirrored.grid), seen)
