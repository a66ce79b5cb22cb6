"""RecNet: a photo to model coefficients, pose, camera and light (JR2Net, "Face reconstruction")."""

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput

from lirec.geometry.lighting import ODD_IN_X
from lirec.models.crop_regressor import CropRegressor
from lirec.models.mesh_feedback import head_counts, read_head
from lirec.models.morphable_model import MorphableModel

TYPICAL_LIGHT = 2.5  # of the constant harmonic


@dataclass
class RecNetOutput(BaseOutput):
    """
    What RecNet sees in B crops.

    Args:
        identity (`torch.Tensor` of shape `(B, 80)`): α, standard deviations.
        expression (`torch.Tensor` of shape `(B, 51)`): β as regressed, a little beyond [0, 1] at times.
        albedo (`torch.Tensor` of shape `(B, 64)`): γ, standard deviations.
        angles (`torch.Tensor` of shape `(B, 3)`): pitch, yaw, roll in radians.
        translation (`torch.Tensor` of shape `(B, 3)`): metres, camera frame.
        focal (`torch.Tensor` of shape `(B,)`): focal length in crop sides; the principal point is the middle.
        light (`torch.Tensor` of shape `(B, 9, 3)`): spherical harmonics.
        earlier (`list[RecNetOutput]`, *optional*): what was seen before each step of `MeshFeedback`, while gradients
            are recorded.
    """

    identity: torch.Tensor
    expression: torch.Tensor
    albedo: torch.Tensor
    angles: torch.Tensor
    translation: torch.Tensor
    focal: torch.Tensor
    light: torch.Tensor
    earlier: list["RecNetOutput"] | None = None

    @property
    def looks(self) -> list["RecNetOutput"]:
        """What was seen before each step of `MeshFeedback`, as far as it is known, and this."""
        return [*(self.earlier or []), self]

    def mirrored(self, model: MorphableModel) -> "RecNetOutput":
        """The same faces seen in a mirror: what belongs to the flipped crops."""
        odd = self.light.new_ones(9, 1)
        odd[list(ODD_IN_X)] = -1
        return RecNetOutput(
            identity=self.identity * model.identity_mirror,
            expression=self.expression[:, model.expression_mirror],
            albedo=self.albedo * model.albedo_mirror,
            angles=self.angles * self.angles.new_tensor([1.0, -1.0, -1.0]),
            translation=self.translation * self.translation.new_tensor([-1.0, 1.0, 1.0]),
            focal=self.focal,
            light=self.light * odd,
        )


class RecNet(CropRegressor):
    r"""
    ResNet that regresses JR2Net's α, β, γ, Euler pose and 27 light coefficients from one crop.

    The paper's sizes (ResNet-50 at 224 pixels) are the defaults; shipped weights may be smaller. The paper takes
    the camera as known; here the focal length is regressed too, since the distance of a photo is not known.

    Args:
        image_size (`int`): Width and height of the crops.
        crop_scale (`float`): Side of the crops that it was trained on, over the box round the landmarks.
        layer_type (`str`): `"bottleneck"` (ResNet-50) or `"basic"` (ResNet-18, 34).
        depths, hidden_sizes (`list[int]`): Blocks and channels of the stages.
        embedding_size (`int`): Channels of the stem.
        head_width (`int`): Units of a hidden layer after the average over all places; the paper's network has none.
        feedback_steps (`int`): How often `MeshFeedback` looks again; the paper's network does not.
        identity_count, expression_count, albedo_count (`int`): Numbers of coefficients.
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 224,
        crop_scale: float = 1.35,
        layer_type: str = "bottleneck",
        depths: tuple[int, ...] = (3, 4, 6, 3),
        hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048),
        embedding_size: int = 64,
        head_width: int = 0,
        feedback_steps: int = 0,
        identity_count: int = 80,
        expression_count: int = 51,
        albedo_count: int = 64,
    ):
        super().__init__()
        self.counts = (sum(head_counts(identity_count, expression_count)), albedo_count, 27)
        self._build(sum(self.counts))

    def forward(self, images: torch.Tensor) -> RecNetOutput:
        """
        Args:
            images (`torch.Tensor` of shape `(B, 3, image_size, image_size)`): sRGB crops in [0, 1].
        """
        looks = self._looks(images)
        output = self._read(looks[-1])
        if len(looks) > 1 and torch.is_grad_enabled():
            output["earlier"] = [self._read(numbers) for numbers in looks[:-1]]
        return output

    def _read(self, numbers: torch.Tensor) -> RecNetOutput:
        head, albedo, light = numbers.float().split(self.counts, 1)
        constant = light.new_zeros(9, 3)
        constant[0] = TYPICAL_LIGHT
        return RecNetOutput(
            **vars(read_head(head, self.config.identity_count, self.config.expression_count)),
            albedo=albedo,
            light=light.unflatten(1, (9, 3)) + constant,
        )
