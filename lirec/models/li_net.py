"""LI-Net: from landmarks, in three steps, a face in another's pose and expression ("LI-Net: Large-pose
Identity-preserving face reenactment network", Figure 2)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import nn

from lirec.geometry.landmarks import Frame, box_normalised, draw_landmark_lines
from lirec.geometry.view_synthesis import pixel_grid, warp
from lirec.models.conditions import DrivenMaps, SourceMaps
from lirec.models.dc_net import DCNet, SourceFeatures
from lirec.models.landmark_lifter import LandmarkConditions, LiftedHead, Lifting
from lirec.models.layered_output import Adjustments, LayeredOutput, begin_small, compose, paint
from lirec.models.layers import AdaptiveBlock, ResidualPerceptron, convolution, for_network, principal_axes

LAYERS = ("rotated", "warped", "background", "interior", "generated")
"""What `ExpressionGenerator` blends: R's picture moved from the source's expression to the wanted one, the photo moved
by pose and expression, the photo where it is, its scene stretched over what the head has left, the rendered inside of
mouth and eyes, and painted pixels. The first, which is the photo where there is no R, is shifted a little besides."""
RELIT = ("rotated", "warped", "interior")  # layers that get lighter and darker; the last also warmer and cooler
DRAWN_CHANNELS = 6  # of images of two sets of landmarks


@dataclass
class LandmarkTransformerOutput(BaseOutput):
    """
    Args:
        landmarks (`torch.Tensor` of shape `(B, 68, 2)`): L̂, the source's landmarks with the driver's motion, where
            the driver's camera would see them, in the frame of the driver's box: its middle at 0, its longer side 1.
        shift (`torch.Tensor` of shape `(B, 68, 2)`): what was added to the driver's, or to the guide.
        placement (`torch.Tensor` of shape `(B, 3)`): where their box is as seen from the source's, for a head that
            turns about its neck; see `Frame.moved`.
    """

    landmarks: torch.Tensor
    shift: torch.Tensor
    placement: torch.Tensor

    def placed(self, source: torch.Tensor) -> torch.Tensor:
        """The landmarks (B, 68, 2) in the picture of the source's landmarks (B, 68, 2), in its unit."""
        return Frame.of(source).moved(self.placement).leave(box_normalised(self.landmarks))

    def laid_on(self, driving: torch.Tensor) -> torch.Tensor:
        """The landmarks (B, 68, 2) in the picture of the driver's (B, 68, 2), in its unit: for faces that all have one
        camera, as the paper's."""
        return Frame.of(driving).leave(self.landmarks)


class LandmarkTransformer(ModelMixin, ConfigMixin):
    r"""
    T: gives a driver's landmarks the source's identity (Section 3.1).

    Encoders E1 and E2 read the source's and the driver's landmarks, and the decoder D1 gives a shift of the points that
    is added to the driver's. The paper reads landmark images; this does so with `representation="images"`. The default
    reads the 68 points themselves, which need not be found in pixels first. The paper's faces all have one camera; here
    source and driver have their own, so D1 also says where the box would be in the source's picture. Where there is a
    guide, which is what the source's head would look like in the driver's place as [`LandmarkLifter`] sees both, a
    third encoder reads it and the shift is added to it: what 3D tells need not be learnt again.

    Args:
        representation (`str`): `"coordinates"` or `"images"`.
        guided (`bool`): whether there is a guide; the paper has none.
        width (`int`): of the encoded features.
        depth (`int`): blocks in each encoder and in the decoder.
        image_size (`int`): pixels of the landmark images.
    """

    full_precision = ("middle", "whitening", "shift_basis")  # float16 has no digits for their small directions

    @register_to_config
    def __init__(
        self,
        representation: str = "coordinates",
        guided: bool = True,
        width: int = 256,
        depth: int = 2,
        image_size: int = 64,
    ):
        super().__init__()
        if representation not in ("coordinates", "images"):
            raise ValueError("representation is 'coordinates' or 'images'.")
        self.source_encoder = self._encoder(representation, width, depth, image_size)
        self.driving_encoder = self._encoder(representation, width, depth, image_size)
        self.guide_encoder = self._encoder(representation, width, depth, image_size) if guided else None
        blocks = [ResidualPerceptron(width) for _ in range(depth)]
        self.decoder = nn.Sequential(nn.Linear((3 if guided else 2) * width, width), *blocks, nn.LayerNorm(width))
        self.to_shift = nn.Linear(width, 68 * 2 + 3)
        nn.init.normal_(self.to_shift.weight, std=1e-2)  # begin near the guide
        nn.init.zeros_(self.to_shift.bias)
        self.register_buffer("middle", torch.zeros(68 * 2))
        self.register_buffer("whitening", 3 * torch.eye(68 * 2))
        self.register_buffer("shift_basis", 0.03 * torch.eye(68 * 2))

    @torch.no_grad()
    def fit_statistics(self, landmarks: torch.Tensor, shifts: torch.Tensor, floor: float = 0.003) -> None:
        """
        Set what is read and said to unit variance in all directions, before the training. Who a face is moves its
        landmarks far less than how it is turned, and would be learnt late.

        Args:
            landmarks: (N, 68, 2) box-normalised, as T gets them.
            shifts: (N, 68, 2) as T should give them.
            floor: directions with a smaller standard deviation count as noise.
        """
        values, vectors, self.middle[:] = principal_axes(landmarks.flatten(1))
        self.whitening.copy_(vectors / (values + floor**2).sqrt())
        values, vectors, _ = principal_axes(shifts.flatten(1))
        self.shift_basis.copy_((vectors * values.sqrt()).T)

    @staticmethod
    def _encoder(representation: str, width: int, depth: int, image_size: int) -> nn.Sequential:
        if representation == "coordinates":
            return nn.Sequential(nn.Linear(68 * 2, width), *(ResidualPerceptron(width) for _ in range(depth)))
        channels, layers = 16, [convolution(3, 16, stride=2, kernel=5)]
        while image_size // 2 ** len(layers) > 4:
            layers.append(convolution(channels, 2 * channels, stride=2))
            channels *= 2
        pixels = (image_size // 2 ** len(layers)) ** 2
        blocks = (ResidualPerceptron(width) for _ in range(depth))
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * pixels, width), *blocks)

    def forward(
        self, source: torch.Tensor, driving: torch.Tensor, guide: torch.Tensor | None = None
    ) -> LandmarkTransformerOutput:
        """
        Args:
            source (`torch.Tensor` of shape `(B, 68, 2)`): L_{s,p}, in any unit.
            driving (`torch.Tensor` of shape `(B, 68, 2)`): L_{d,q}, in any unit.
            guide (`torch.Tensor` of shape `(B, 68, 2)`): of `Lifting.reshaped`, in the driving's unit; the driving
                landmarks themselves when None.
        """
        frame = Frame.of(driving)
        source, driving = box_normalised(source), frame.enter(driving)
        guide = driving if guide is None else frame.enter(guide)
        encoded = [self.source_encoder(self._seen(source)), self.driving_encoder(self._seen(driving))]
        if self.guide_encoder is not None:
            encoded.append(self.guide_encoder(self._seen(guide)))
        change = self.to_shift(self.decoder(torch.cat(encoded, 1))).float()
        shift = (change[:, :136] @ self.shift_basis.float()).unflatten(1, (68, 2))
        return LandmarkTransformerOutput(landmarks=guide + shift, shift=shift, placement=change[:, 136:])

    def _seen(self, points: torch.Tensor) -> torch.Tensor:
        if self.config.representation == "coordinates":
            return ((points.flatten(1) - self.middle) @ self.whitening.to(points.dtype)).to(self.dtype)
        return self.draw(points).to(self.dtype)

    def draw(self, points: torch.Tensor) -> torch.Tensor:
        """Landmark images (B, 3, S, S) of box-normalised points, with room round them."""
        size = self.config.image_size
        return draw_landmark_lines((0.85 * points + 0.5) * size, size, width=1.5)


def transformed(
    transformer: LandmarkTransformer, lifting: Lifting, source: torch.Tensor, driving: torch.Tensor
) -> LandmarkTransformerOutput:
    """
    T with the guide it needs.

    Args:
        transformer: T, which several processes may have wrapped.
        source, driving: landmarks (B, 68, 2), in any unit.
    """
    guided = getattr(transformer, "module", transformer).config.guided
    return transformer(source, driving, lifting.reshaped(source, driving) if guided else None)


class FaceRotator(ModelMixin, ConfigMixin):
    r"""
    R: turns a face into another pose; its expression stays (Section 3.2).

    The paper paints every pixel from the source and a pose feature of the landmarks. This is a [`DCNet`] which moves
    the photo's pixels with the head that the landmarks tell of, and is given the landmark images besides.

    Args:
        image_size (`int`), width (`int`), output (`str`), crop_scale (`float`), crop_rise (`float`): as of [`DCNet`];
            the paper's output is `"rgb"`.
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 256,
        width: int = 64,
        output: str = "layers",
        crop_scale: float = 2.2,
        crop_rise: float = 0.1,
    ):
        super().__init__()
        self.drawer = DCNet(
            image_size, width, output, crop_scale=crop_scale, crop_rise=crop_rise, more_channels=DRAWN_CHANNELS
        )

    def encode(self, source: SourceMaps) -> SourceFeatures:
        """The part of the work that is done once a photo."""
        return self.drawer.encode(source)

    def forward(
        self,
        source: SourceMaps,
        driven: DrivenMaps,
        landmarks: torch.Tensor,
        target: torch.Tensor,
        shown: torch.Tensor | None = None,
        features: SourceFeatures | None = None,
    ) -> LayeredOutput:
        """
        Args:
            source: maps of the photos, one row or B.
            driven: maps of their heads with their own expressions in the wanted poses.
            landmarks (`torch.Tensor` of shape `(1 or B, 68, 2)`): of the photos, in picture widths.
            target (`torch.Tensor` of shape `(B, 68, 2)`): landmarks in the wanted poses, of any expression.
            shown (`torch.Tensor` of shape `(B, 9)`): 0 for parts of them that are not drawn, see `PARTS`.
            features: of `encode(source)`, where they are known already.
        """
        drawn = landmark_planes(landmarks, target, self.config.image_size, shown)
        return self.drawer(source, driven, features, drawn)

    @torch.no_grad()
    def start_from(self, trained: DCNet) -> None:
        """
        Begin with the weights of a trained DCNet of the same sizes, which knows heads but no landmark images.

        Raises:
            ValueError: it has other sizes.
        """
        given = trained.state_dict()
        for name, parameter in self.drawer.named_parameters():
            value = given.get(name)
            if value is None or value.shape[:1] + value.shape[2:] != parameter.shape[:1] + parameter.shape[2:]:
                raise ValueError(f"{name} of that DCNet has another size.")
            parameter.zero_()
            (parameter[:, : value.shape[1]] if value.ndim > 1 else parameter).copy_(value)


def landmark_planes(
    landmarks: torch.Tensor, target: torch.Tensor, size: int, shown: torch.Tensor | None = None
) -> torch.Tensor:
    """Images (B, 6, S, S) of the wanted landmarks (B, 68, 2) and of the photo's, -1 to 1."""
    drawn = (draw_landmark_lines(target * size, size, shown), draw_landmark_lines(landmarks * size, size))
    return torch.cat([plane.expand(len(target), -1, -1, -1) for plane in drawn], 1) * 2 - 1


class ExpressionEncoder(nn.Module):
    """Ee: a landmark image (B, 3, S, S) to a style (B, D) that says what the face does."""

    def __init__(self, image_size: int, width: int, style: int):
        super().__init__()
        layers, channels, size = [convolution(3, width, stride=2, kernel=5)], width, image_size // 2
        while size > 8:
            layers.append(convolution(channels, min(2 * channels, 4 * width), stride=2))
            channels, size = min(2 * channels, 4 * width), size // 2
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, style))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return F.silu(self.layers(image))


class ExpressionGenerator(ModelMixin, ConfigMixin):
    r"""
    G: gives the rotated face an expression, and what the rotation has lost (Section 3.3).

    Args:
        image_size (`int`): S, at which the network works. The `layers` output is blended at the photo's resolution.
        width (`int`): C, channels at half the resolution.
        output (`str`): `"layers"` blends moved pixels with painted ones; `"rgb"`, as in the paper, paints all.
        depth (`int`): number of AdaIN residual blocks.
        rotated (`bool`): whether it is given a rotated face; False for the paper's "vanilla", G alone.
        encoder (`str`): `"adain"`: landmarks act through Ee and AdaIN. `"concatenated"`: their image lies on the
            photo, and there is no Ee: with `output="rgb"` and without a rotated face this is Pix2Pix.
        crop_scale (`float`), crop_rise (`float`): as of [`DCNet`].
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 256,
        width: int = 64,
        output: str = "layers",
        depth: int = 4,
        rotated: bool = True,
        encoder: str = "adain",
        crop_scale: float = 2.2,
        crop_rise: float = 0.1,
    ):
        super().__init__()
        if output not in ("layers", "rgb") or encoder not in ("adain", "concatenated"):
            raise ValueError("output is 'layers' or 'rgb', and encoder 'adain' or 'concatenated'.")
        if encoder == "concatenated" and output == "layers":
            raise ValueError("encoder='concatenated' needs output='rgb'.")
        self.layers, self.relit = (
            tuple(name for name in names if rotated or name != "rotated") for names in (LAYERS, RELIT)
        )
        if output == "layers":
            channels = 3 + DRAWN_CHANNELS + 6 + (1 + rotated) * 6
        else:
            channels = 3 + 3 * rotated + 3 * (encoder == "concatenated")
        style = 4 * width
        self.expression_encoder = ExpressionEncoder(image_size, width // 2, style) if encoder == "adain" else None
        if encoder == "concatenated":
            self.style = nn.Parameter(torch.zeros(1, style))
        self.down = nn.ModuleList(
            (
                convolution(channels, width, stride=2, kernel=5),
                convolution(width, 2 * width, stride=2),
                convolution(2 * width, 4 * width, stride=2),
            )
        )
        self.blocks = nn.ModuleList(AdaptiveBlock(4 * width, style) for _ in range(depth))
        self.to_quarter = convolution(6 * width, 2 * width)
        self.to_half = convolution(3 * width, width)
        self.to_full = nn.Conv2d(width, width // 2, 1)
        self.at_full = nn.Conv2d(width // 2 + channels, width, 3, padding=1)
        if output == "layers":
            self.to_adjustments = nn.Conv2d(width, 5 + len(self.relit), 3, padding=1)
            self.to_layers = nn.Conv2d(width, 3 + len(self.layers), 3, padding=1)
            begin_small(self.to_adjustments, self.to_layers)
            with torch.no_grad():
                self.to_layers.bias[3] = 1.0  # begin with the first layer
        else:
            self.to_rgb = nn.Conv2d(width, 3, 3, padding=1)

    def forward(
        self,
        source: SourceMaps,
        driven: DrivenMaps,
        landmarks: torch.Tensor,
        target: torch.Tensor,
        turned: SourceMaps | None = None,
        changed: DrivenMaps | None = None,
    ) -> LayeredOutput:
        """
        Args:
            source: maps of the photos, one row or B.
            driven: maps of their heads in the wanted poses and expressions.
            landmarks (`torch.Tensor` of shape `(1 or B, 68, 2)`): of the photos, in picture widths.
            target (`torch.Tensor` of shape `(B, 68, 2)`): L̂, the landmarks that the result is to have.
            turned: maps of what R has drawn; needed unless the network was made without.
            changed: `driven`, but as seen from `turned`.
        """
        config = self.config
        if (turned is None) == config.rotated or (changed is None) == config.rotated:
            raise ValueError("A rotated face is needed exactly when the network was made with rotated=True.")
        count, size = len(target), config.image_size
        image = (source.image * 2 - 1).expand(count, -1, -1, -1)
        drawn = landmark_planes(landmarks, target, size)
        if config.output == "layers":
            planes = [image, drawn, *_inside(driven)]
            for maps, moved in ((source, driven), (turned, changed))[: 1 + config.rotated]:
                planes += _moved(maps, moved, count)
        else:
            planes = [image, *([turned.image * 2 - 1] if config.rotated else [])]
            planes += [drawn[:, :3]] if config.encoder == "concatenated" else []
        if self.expression_encoder is None:
            style = self.style.expand(count, -1)
        else:
            style = self.expression_encoder(for_network(drawn[:, :3], self))
        half, full = self._features(for_network(torch.cat(planes, 1), self), style)
        if config.output == "rgb":
            image = paint(self.to_rgb(full))
            return LayeredOutput(image=image, generated=image)
        return self._blend(self.to_adjustments(half), self.to_layers(full).float(), source, driven, turned, changed)

    def _features(self, x: torch.Tensor, style: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, S/2, S/2) and (B, C, S, S)."""
        levels, y = [], x
        for stage in self.down:
            y = stage(y)
            levels.append(y)
        for block in self.blocks:
            y = block(y, style)

        def double(z):
            return F.interpolate(z, scale_factor=2, mode="bilinear", align_corners=False)

        y = self.to_quarter(torch.cat((double(y), levels[1]), 1))
        half = self.to_half(torch.cat((double(y), levels[0]), 1))
        return half, F.leaky_relu(self.at_full(torch.cat((double(self.to_full(half)), x), 1)), 0.1)

    def _blend(self, adjustments, layers, source, driven, turned, changed) -> LayeredOutput:
        photo = source.photo.expand(len(layers), -1, -1, -1)
        change, grid = Adjustments(adjustments, photo.shape[2:]), driven.fine.correspondence.grid
        if turned is None:
            moved = {"warped": warp(photo, grid + change.shift)}
        else:
            rotated = warp(turned.photo, changed.fine.correspondence.grid + change.shift)
            moved = {"rotated": rotated, "warped": warp(photo, grid)}
        return compose(change, layers, moved, source, driven, self.layers, self.relit)


def _inside(driven: DrivenMaps) -> list[torch.Tensor]:
    """Where the head, its mouth and its eyes are, and the colours of what is in them: (B, 6, S, S)."""
    surface = driven.surface
    return [surface.mask, surface.mouth, surface.eyes, surface.albedo * (surface.mouth + surface.eyes)]


def _moved(maps: SourceMaps, driven: DrivenMaps, count: int) -> list[torch.Tensor]:
    """Pictures moved with the head, what of them was seen, and how far they were moved: (B, 6, S, S)."""
    grid = driven.surface.correspondence.grid
    motion = (grid - pixel_grid(*grid.shape[1:3], grid)).permute(0, 3, 1, 2)
    moved = warp(maps.image.expand(count, -1, -1, -1), grid) * 2 - 1
    return [moved, driven.surface.correspondence.visible, (3 * motion).clamp(-3, 3)]


class LINet:
    """
    R and G at work: from a photo and landmarks to pictures.

    Args:
        conditions: draws their maps; its size is theirs.
        rotator: R; None where `generator` works alone.
        generator: G; None when only R is wanted.
    """

    def __init__(
        self,
        conditions: LandmarkConditions,
        rotator: FaceRotator | None = None,
        generator: ExpressionGenerator | None = None,
    ):
        self.conditions, self.rotator, self.generator = conditions, rotator, generator

    def prepare(self, photo: torch.Tensor, landmarks: torch.Tensor) -> "LINetSource":
        """Photos (B, 3, H, H) sRGB with their landmarks (B, 68, 2) in picture widths."""
        head = self.conditions.lift(landmarks)
        return LINetSource(self.conditions.source(photo, head), head, landmarks)

    def turn(self, source: "LINetSource", target: LiftedHead) -> DrivenMaps:
        """Maps of the photos' heads, their expressions being their own, in the poses of target heads."""
        return self.conditions.driven(source.maps, target.with_expression(source.head), completed=True)

    def rotate(
        self, source: "LINetSource", driven: DrivenMaps, landmarks: torch.Tensor, shown: torch.Tensor | None = None
    ) -> LayeredOutput:
        """The photos' faces in the poses of heads, whose maps are of `turn` and whose landmarks are (B, 68, 2)."""
        return self.rotator(source.maps, driven, source.landmarks, landmarks, shown, source.features)

    def __call__(self, source: "LINetSource", landmarks: torch.Tensor) -> tuple[torch.Tensor | None, LayeredOutput]:
        """
        Reenact photos.

        Args:
            source: of `prepare`, one row or B.
            landmarks: (B, 68, 2) that the results are to have, in picture widths.

        Returns:
            What R draws, (B, 3, H, H), None without R, and what G makes of it.
        """
        target = self.conditions.lift(landmarks, source.head.identity)
        driven = self.conditions.driven(source.maps, target)
        if self.rotator is None:
            return None, self.generator(source.maps, driven, source.landmarks, landmarks)
        with torch.no_grad():
            rotated = self.rotate(source, self.turn(source, target), landmarks).image.float()
        turned = self.conditions.source(rotated, target.with_expression(source.head), textured=False)
        changed = self.conditions.driven(turned, target)
        return rotated, self.generator(source.maps, driven, source.landmarks, landmarks, turned, changed)


@dataclass
class LINetSource:
    """
    Photos that LI-Net can reenact.

    Args:
        maps, head: of the photos; landmarks: (B, 68, 2) in picture widths.
        features: of `FaceRotator.encode`, where they are known already.
    """

    maps: SourceMaps
    head: LiftedHead
    landmarks: torch.Tensor
    features: SourceFeatures | None = None
