"""What the networks are trained to make small.

Pure functions of tensors; each returns a scalar that is 0 when prediction and truth agree, and a gradient
that is finite everywhere, at the truth too. Units and axes are those of `lirec.geometry`.

Self-supervised, for real photos (Deng et al. 2019, "Accurate 3D Face Reconstruction with Weakly-Supervised
Learning"; Shang et al. 2020, MGCNet): `landmark_loss`, `render_loss`, `identity_loss`, `regularisation_loss`.
Supervised, for rendered faces whose truth is known: `coefficient_loss`, `expression_loss`, `rotation_loss`,
`scale_loss`, `focal_loss`.
For pictures: `perceptual_loss`, `gradient_loss`, `total_variation` and the two hinge losses of a GAN.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Distances below this (in the unit of the loss) count as zero: it rounds the tip of the norm, whose gradient
# would be undefined there.
_TINY = 1e-6


def _norm(difference: Tensor, tiny: float = _TINY) -> Tensor:
    """Euclidean norm over the last axis, 0 at 0 and smooth there: (..., D) -> (...)."""
    return (difference.square().sum(-1) + tiny * tiny).sqrt() - tiny


def _weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of values, each counted `weights` times; 0 when all weights are 0. Weights broadcast to values."""
    if weights is None:
        return values.mean()
    weights = weights.to(values).expand_as(values)
    return (values * weights).sum() / weights.sum().clamp_min(_TINY)


# --- self-supervised ----------------------------------------------------------------------------------------


def landmark_weights(
    contour: float = 0.5, brows: float = 1.0, nose: float = 1.0, eyes: float = 2.0, mouth: float = 2.0
) -> Tensor:
    """(68,) weights of the iBUG-68 landmarks, mean 1.

    The jaw counts less because its points slide along an edge and are labelled least precisely; eyes and
    mouth count more because most of the expression is read from them.
    """
    weights = torch.ones(68)
    weights[:17] = contour
    weights[17:27] = brows
    weights[27:36] = nose
    weights[36:48] = eyes
    weights[48:] = mouth
    return weights / weights.mean()


def landmark_loss(
    predicted: Tensor, target: Tensor, size: Tensor | float, weights: Tensor | None = None
) -> Tensor:
    """Mean distance of landmarks, as a fraction of the face's size.

    Args:
        predicted, target: (B, 68, 2) pixels.
        size: what counts as 1, in pixels: one number or (B,), such as the side of the crop or sqrt(box area).
        weights: (68,) or (B, 68); `landmark_weights()` when None. 0 leaves a point out.

    The distance and not its square as in Deng et al., so that one wrong label does not outweigh a picture.
    """
    if weights is None:
        weights = landmark_weights()
    size = torch.as_tensor(size, dtype=predicted.dtype, device=predicted.device).reshape(-1, 1, 1)
    return _weighted_mean(_norm((predicted - target) / size), weights.to(predicted))


def render_loss(rendered: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Mean colour distance in the skin.

    Args:
        rendered, image: (B, 3, H, W) in [0, 1].
        mask: (B, 1, H, W) weights in [0, 1]: where the mesh was drawn *and* the photo shows skin.

    Each picture counts the same however large its mask is; one with an empty mask counts 0.
    """
    distance = _norm((rendered - image).movedim(1, -1))
    mask = mask[:, 0].to(distance)
    return ((distance * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp_min(1)).mean()


def identity_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of two embeddings (B, D) of the same person, as `FaceEmbedder` gives; in [0, 2]."""
    return (1 - F.cosine_similarity(predicted, target, dim=-1, eps=1e-6)).mean().clamp_min(0)


def expression_prior(expression: Tensor) -> Tensor:
    """Keeps blendshapes (B, 51) few, and inside [0, 1].

    Blendshapes are not normally distributed around a mean: most are 0 most of the time. So the pull towards 0
    is that of the absolute value, which allows some large ones. Leaving [0, 1] costs the excess squared.
    """
    outside = F.relu(-expression) + F.relu(expression - 1)
    return _norm(expression.unsqueeze(-1)).mean() + 10 * outside.square().mean()


def albedo_flattening(albedo: Tensor, weights: Tensor) -> Tensor:
    """Variance of the albedo over skin, so that shading is explained by light and not by paint.

    Args:
        albedo: (B, N, 3), linear; per vertex, or a texture's pixels.
        weights: (N,) or (B, N), 1 on plain skin (no lips, brows, eyes), 0 elsewhere.
    """
    weights = weights.to(albedo).expand(albedo.shape[:2]).unsqueeze(-1)
    total = weights.sum(1, keepdim=True).clamp_min(_TINY)
    mean = (albedo * weights).sum(1, keepdim=True) / total
    return (((albedo - mean).square() * weights).sum(1, keepdim=True) / total).mean()


def light_prior(light: Tensor) -> Tensor:
    """How far light (B, 9, 3) is from white: mean squared difference of the channels from their mean.

    Without it a red face under white light and a white face under red light are the same picture.
    """
    return (light - light.mean(-1, keepdim=True)).square().mean()


def regularisation_loss(
    identity: Tensor,
    expression: Tensor,
    albedo: Tensor,
    light: Tensor | None = None,
    skin_albedo: Tensor | None = None,
    skin_weights: Tensor | None = None,
    *,
    identity_weight: float = 1.0,
    expression_weight: float = 0.8,
    albedo_weight: float = 1.7e-3,
    flattening_weight: float = 5.0,
    light_weight: float = 1.0,
) -> Tensor:
    """Pull towards a plausible face, with the relative weights of Deng et al. 2019.

    Meant to be added with a weight of about 1e-3, against losses of pixels and landmarks.

    Args:
        identity: (B, 80), in standard deviations of the population.
        expression: (B, 51), in [0, 1].
        albedo: (B, 64), in standard deviations.
        light: (B, 9, 3), left out when None.
        skin_albedo, skin_weights: as in `albedo_flattening`, left out when None.
    """
    total = identity_weight * identity.square().mean() + albedo_weight * albedo.square().mean()
    total = total + expression_weight * expression_prior(expression)
    if light is not None:
        total = total + light_weight * light_prior(light)
    if skin_albedo is not None:
        if skin_weights is None:
            raise ValueError("skin_albedo needs skin_weights, which say where plain skin is.")
        total = total + flattening_weight * albedo_flattening(skin_albedo, skin_weights)
    return total


# --- supervised ---------------------------------------------------------------------------------------------


def coefficient_loss(predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared difference of coefficients (B, C); weights (C,)."""
    return _weighted_mean((predicted - target).square(), weights)


def expression_loss(predicted: Tensor, target: Tensor, floor: float = 0.1) -> Tensor:
    """Mean of max(predicted, target) * |predicted - target| over blendshapes (B, 51) in [0, 1].

    JR2Net's activation loss. A blendshape that is at rest most of the time is not drowned by its zeros, since
    these weigh little. `floor` is the least weight, so that those zeros are learnt too.
    """
    weight = torch.maximum(predicted, target).clamp_min(floor)
    return (weight * _norm((predicted - target).unsqueeze(-1))).mean()


def rotation_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean angle in radians between rotation matrices (B, 3, 3).

    By the arc tangent of sine and cosine, since the derivative of the arc cosine is infinite at the truth.
    """
    relative = predicted.transpose(-1, -2) @ target
    skew = relative - relative.transpose(-1, -2)
    sine = _norm(torch.stack((skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]), -1) / 2, tiny=1e-4)
    cosine = (relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    # At exactly half a turn the sine is 0 as it is at the truth; both derivatives stay finite.
    return torch.atan2(sine, cosine).mean()


def scale_loss(translation: Tensor, focal: Tensor, true_translation: Tensor, true_focal: Tensor) -> Tensor:
    """Mean relative error of the face's size in the picture, |log(focal / depth) - log(true ones)|.

    Depth and focal length apart can only be told by perspective; their ratio is plain to see, so it gets a
    loss of its own, and `focal_loss` a small weight.

    Args:
        translation, true_translation: (B, 3) metres in the crop's camera.
        focal, true_focal: (B,) focal length in sides of the crop.
    """
    predicted = focal.clamp_min(1e-3).log() - translation[:, 2].clamp_min(1e-3).log()
    target = true_focal.log() - true_translation[:, 2].log()
    return _norm((predicted - target).unsqueeze(-1)).mean()


def focal_loss(focal: Tensor, true_focal: Tensor) -> Tensor:
    """Mean relative error of the focal length, |log(focal) - log(true)|: (B,), (B,)."""
    return _norm((focal.clamp_min(1e-3).log() - true_focal.log()).unsqueeze(-1)).mean()


# --- pictures -----------------------------------------------------------------------------------------------


def perceptual_loss(predicted: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Mean L1 distance of a network's activations (JR2Net, equation 4), each layer relative to its own size.

    Args:
        predicted, target: for each layer, activations (B, C, H, W); no gradient goes into the target's.
    """
    distances = [
        (a.float() - b.float()).abs().mean() / (b.float().abs().mean() + 1e-3).detach()
        for a, b in zip(predicted, target, strict=True)
    ]
    return torch.stack(distances).mean()


def hinge_generator_loss(scores_of_made: Tensor) -> Tensor:
    """What the generator makes small, `ReLU[1 - D(I_gen)]` (JR2Net, equation 5)."""
    return F.relu(1 - scores_of_made).mean()


def hinge_discriminator_loss(scores_of_real: Tensor, scores_of_made: Tensor) -> Tensor:
    """`ReLU(1 - D(I_t)) + ReLU(1 + D(I_gen))` (JR2Net, equation 6)."""
    return F.relu(1 - scores_of_real).mean() + F.relu(1 + scores_of_made).mean()


def gradient_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """L1 distance of the differences of neighbouring pixels of pictures (B, C, H, W), at three scales."""
    total = predicted.new_zeros(())
    for step in (1, 2, 4):
        difference = F.avg_pool2d(predicted - target, step) if step > 1 else predicted - target
        across, down = difference.diff(dim=3), difference.diff(dim=2)
        total = total + (across.abs().mean() + down.abs().mean()) * step**0.5
    return total


def total_variation(field: Tensor) -> Tensor:
    """Mean absolute difference of neighbours in (B, C, H, W)."""
    return field.diff(dim=3).abs().mean() + field.diff(dim=2).abs().mean()
