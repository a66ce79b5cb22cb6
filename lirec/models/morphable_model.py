"""The 3D morphable face model: identity, expression and albedo (JR2Net, equation 1)."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from lirec.geometry.lighting import linear_to_srgb, srgb_to_linear
from lirec.models.layers import StaysFloat32

DARKEST = 0.04  # sRGB; no skin is darker

REGIONS = (
    "skin",
    "lips",
    "brows",
    "eye_left",
    "eye_right",
    "mouth_cavity",
    "eye_cavity",
    "teeth_upper",
    "teeth_lower",
    "tongue",
    "scalp",
    "ear",
    "neck",
)
"""Names of the values of `MorphableModel.region`. Left and right are the person's own."""

# The texture: the head's skin on a cylinder round it, above; what lies inside the head in islands below.
SKIN_BOTTOM = 0.86  # v of the skin's lowest row
AXIS_Z = -0.065  # metres, face frame: depth of the cylinder's axis, which is the head's upright one
ISLANDS = {  # u0, v0, width, height
    "eye_left": (0.01, 0.875, 0.115, 0.115),
    "eye_right": (0.135, 0.875, 0.115, 0.115),
    "teeth_upper": (0.27, 0.875, 0.24, 0.115),
    "teeth_lower": (0.53, 0.875, 0.24, 0.115),
    "tongue": (0.79, 0.875, 0.09, 0.115),
    "mouth_cavity": (0.89, 0.875, 0.10, 0.115),
}
NECK_PIVOT = (0.0, -0.10, -0.075)  # metres, face frame: about what the head turns
EYE_LIMIT = 1.1  # radians from the pupil that an eye's island covers


def mirrored_skin(textures: torch.Tensor) -> torch.Tensor:
    """Textures (..., S, S) with the other half of the head's skin in place of each; islands stay."""
    rows = round(SKIN_BOTTOM * textures.shape[-1])
    return torch.cat((textures[..., :rows, :].flip(-1), textures[..., rows:, :]), -2)


class MorphableModel(StaysFloat32, ModelMixin, ConfigMixin):
    r"""
    Linear face model, `v = mean + identity_basis · α + expression_basis · β` and
    `c = mean_albedo + albedo_basis · γ` (JR2Net, equation 1).

    Built by `python -m train.build_morphable_model`; a model made by the constructor alone is empty.
    Identity and albedo coefficients are in standard deviations, so that N(0, 1) is the population; expression
    coefficients are ARKit blendshape weights in [0, 1]. The albedo is a texture.

    Args:
        vertex_count (`int`): Number of vertices V.
        triangle_count (`int`): Number of triangles F.
        texture_coordinate_count (`int`): Number of texture coordinates T.
        texture_size (`int`): Width and height of the albedo texture in texels.
        contour_candidates (`int`): Vertices that each of the 17 jaw landmarks chooses from.
        expression_names (`list[str]`): Names of the expression coefficients, in order.
        identity_count (`int`): Number of identity coefficients α.
        albedo_count (`int`): Number of albedo coefficients γ.

    Buffers worth knowing: `triangles (F, 3)`, `uv (T, 2)` in [0, 1] with v = 0 at the texture's top row,
    `triangles_uv (F, 3)`, `region (V,)` indexing `REGIONS`, `landmark_vertices (68,)`,
    `ambient_occlusion (V,)`, and the mirror maps `identity_mirror`, `albedo_mirror` (signs),
    `expression_mirror` and `mirror_vertices` (permutations).
    """

    @register_to_config
    def __init__(
        self,
        vertex_count: int = 4990,
        triangle_count: int = 9700,
        texture_coordinate_count: int = 5600,
        texture_size: int = 128,
        contour_candidates: int = 12,
        expression_names: tuple[str, ...] = tuple(f"expression_{i}" for i in range(51)),
        identity_count: int = 80,
        albedo_count: int = 64,
    ):
        super().__init__()
        vertices, expressions = vertex_count, len(expression_names)

        def buffer(name, *shape, dtype=torch.float32):
            self.register_buffer(name, torch.zeros(*shape, dtype=dtype))

        buffer("mean_vertices", vertices, 3)
        buffer("identity_basis", identity_count, vertices, 3)
        buffer("expression_basis", expressions, vertices, 3)
        buffer("mean_albedo", 3, texture_size, texture_size)
        buffer("albedo_basis", albedo_count, 3, texture_size, texture_size)
        buffer("ambient_occlusion", vertices)
        buffer("uv", texture_coordinate_count, 2)
        buffer("contour_directions", 17, 2)
        buffer("identity_mirror", identity_count)
        buffer("albedo_mirror", albedo_count)
        for name, shape in (
            ("triangles", (triangle_count, 3)),
            ("triangles_uv", (triangle_count, 3)),
            ("region", (vertices,)),
            ("landmark_vertices", (68,)),
            ("contour_vertices", (17, contour_candidates)),
            ("expression_mirror", (expressions,)),
            ("mirror_vertices", (vertices,)),
        ):
            buffer(name, *shape, dtype=torch.int64)

    @property
    def expression_names(self) -> tuple[str, ...]:
        return tuple(self.config.expression_names)

    @property
    def chin_and_crown(self) -> torch.Tensor:
        """Two vertices: the tip of the chin, and the highest of the head."""
        return torch.stack((self.landmark_vertices[8], self.mean_vertices[:, 1].argmax()))

    def forward(self, identity: torch.Tensor, expression: torch.Tensor) -> torch.Tensor:
        """
        Args:
            identity (`torch.Tensor` of shape `(B, 80)`): α, in standard deviations.
            expression (`torch.Tensor` of shape `(B, 51)`): β, ARKit weights in [0, 1].

        Returns:
            `torch.Tensor` of shape `(B, V, 3)`: vertices in metres, face frame.
        """
        shape = identity @ self.identity_basis.flatten(1) + expression @ self.expression_basis.flatten(1)
        return self.mean_vertices + shape.unflatten(1, (-1, 3))

    def albedo(self, coefficients: torch.Tensor) -> torch.Tensor:
        """γ of shape `(B, 64)` to a linear RGB texture of shape `(B, 3, T, T)`.

        The modes add up in sRGB, where dark and light skins spread alike, and the sum is made linear.
        """
        texture = (coefficients @ self.albedo_basis.flatten(1)).unflatten(1, self.mean_albedo.shape)
        return srgb_to_linear((self.mean_albedo + texture).clamp(DARKEST, 1.0))

    def albedo_coefficients(self, textures: torch.Tensor) -> torch.Tensor:
        """γ of shape `(B, 64)` nearest to linear RGB textures of shape `(B, 3, T, T)`."""
        basis = self.albedo_basis.flatten(1)
        offset = (linear_to_srgb(textures) - self.mean_albedo).flatten(1)
        return offset @ basis.T / basis.square().sum(1)

    def landmarks(self, projected: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        """
        The 68 iBUG landmarks among projected vertices. The 17 jaw points slide to the face's outline when the
        head turns, as annotators place them: of each point's candidates the one that reaches farthest along
        the point's outward direction, which rolls with the head, is taken.

        Args:
            projected (`torch.Tensor` of shape `(B, V, 2 or 3)`): vertices in the picture, y down.
            angles (`torch.Tensor` of shape `(B, 3)`): Euler angles; only roll is used.

        Returns:
            `torch.Tensor` of shape `(B, 68, 2)`.
        """
        points = projected[:, self.landmark_vertices, :2]
        candidates = projected[:, self.contour_vertices, :2]
        roll = angles[:, 2, None]
        x, y = self.contour_directions.unbind(1)
        outward = torch.stack((x * roll.cos() - y * roll.sin(), -x * roll.sin() - y * roll.cos()), -1)
        farthest = (candidates * outward[:, :, None]).sum(-1).argmax(-1)
        jaw = torch.take_along_dim(candidates, farthest[..., None, None], 2).squeeze(2)
        return torch.cat((jaw, points[:, 17:]), 1)

    def of_landmarks(self) -> "MorphableModel":
        """The model with only those vertices that can be landmarks, without triangles and albedo: quick to move."""
        kept, places = torch.unique(
            torch.cat((self.landmark_vertices, self.contour_vertices.flatten())), return_inverse=True
        )
        config = self.config
        small = MorphableModel(
            vertex_count=len(kept),
            triangle_count=0,
            texture_coordinate_count=0,
            texture_size=1,
            contour_candidates=config.contour_candidates,
            expression_names=config.expression_names,
            identity_count=config.identity_count,
            albedo_count=config.albedo_count,
        ).to(self.device)
        small.mean_vertices.copy_(self.mean_vertices[kept])
        small.identity_basis.copy_(self.identity_basis[:, kept])
        small.expression_basis.copy_(self.expression_basis[:, kept])
        for name in ("contour_directions", "identity_mirror", "albedo_mirror", "expression_mirror"):
            getattr(small, name).copy_(getattr(self, name))
        small.landmark_vertices.copy_(places[:68])
        small.contour_vertices.copy_(places[68:].view_as(self.contour_vertices))
        return small.eval()

    def twist_neck(self, vertices: torch.Tensor, body_turn: torch.Tensor) -> torch.Tensor:
        """
        Turn the lower neck with the body, from whose pose the head has turned away.

        Args:
            vertices (`torch.Tensor` of shape `(B, V, 3)`): a head, face frame.
            body_turn (`torch.Tensor` of shape `(B, 3, 3)`): from the head's face frame to the body's: `Rᵀ R_body`.

        Returns:
            `torch.Tensor` of shape `(B, V, 3)`: under the jaw the neck goes over from the one to the other.
        """
        _, y, z = self.mean_vertices.unbind(1)
        share = ((-y - 0.7 * (z + 0.02) - 0.1) / 0.08).clamp(0, 1)
        share = (share * share * (3 - 2 * share))[:, None]
        pivot = vertices.new_tensor(NECK_PIVOT)
        return vertices + share * ((vertices - pivot) @ body_turn.transpose(1, 2) + pivot - vertices)

    def select_vertices(self, *regions: str) -> torch.Tensor:
        """Mask of shape `(V,)` of the vertices in the named regions."""
        wanted = torch.tensor([REGIONS.index(name) for name in regions], device=self.region.device)
        return torch.isin(self.region, wanted)

    def select_triangles(self, *regions: str) -> torch.Tensor:
        """Mask of shape `(F,)` of the triangles whose first corner is in the named regions."""
        return self.select_vertices(*regions)[self.triangles[:, 0]]
