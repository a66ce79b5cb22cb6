"""How good a result is, in the units that people compare: per cent of the face, millimetres, degrees.

Pure functions without gradients; unless said otherwise one number a sample, so that a report can take means,
medians and bins itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lirec.geometry import rotation_angle, similarity_align

INNER_LANDMARKS = slice(17, 68)
"""iBUG-68 without the jaw contour."""


def landmark_box(landmarks: Tensor) -> Tensor:
    """Bounding box (x1, y1, x2, y2) of landmarks: (..., N, 2) -> (..., 4)."""
    return torch.cat((landmarks.amin(-2), landmarks.amax(-2)), -1)


def landmark_error(predicted: Tensor, target: Tensor, normaliser: str = "box", points: str = "all") -> Tensor:
    """Normalised mean error of iBUG-68 landmarks: (B, 68, 2) pixels twice -> (B,), a fraction (0.03 = 3 %).

    Args:
        normaliser: "box", sqrt(width * height) of the bounding box of all 68 true points, which holds for
            turned heads too; or "inter-ocular", the distance of the true eyes' outer corners, as in 300W.
        points: "all", or "inner" for the 51 without the jaw contour.
    """
    if normaliser == "box":
        box = landmark_box(target)
        size = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])).sqrt()
    elif normaliser == "inter-ocular":
        size = (target[:, 36] - target[:, 45]).norm(dim=-1)
    else:
        raise ValueError(f"normaliser is {normaliser!r}; it must be 'box' or 'inter-ocular'.")
    if points not in ("all", "inner"):
        raise ValueError(f"points is {points!r}; it must be 'all' or 'inner'.")
    kept = INNER_LANDMARKS if points == "inner" else slice(None)
    return (predicted[:, kept] - target[:, kept]).norm(dim=-1).mean(-1) / size.clamp_min(1e-6)


def landmark_rmse(predicted: Tensor, target: Tensor) -> Tensor:
    """Root mean square distance of landmarks, JR2Net's EFL: (B, N, 2) pixels twice -> (B,) pixels."""
    return (predicted - target).square().sum(-1).mean(-1).sqrt()


def keypoint_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of landmarks, FOMM's AKD (Siarohin et al. 2019): (B, N, 2) pixels twice -> (B,) pixels."""
    return (predicted - target).norm(dim=-1).mean(-1)


def jitter(landmarks: Tensor) -> float:
    """How much landmarks (T, N, 2) that should stand still move: mean standard deviation over time, in pixels."""
    return float(landmarks.double().std(0, correction=0).mean())


def failure_rate(errors: Tensor, threshold: float = 0.08) -> float:
    """Fraction of errors (N,) above the threshold; NaN, such as for a face not found, is above it."""
    return float((~(errors <= threshold)).double().mean())


def box_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes (x1, y1, x2, y2): (..., 4), (..., 4) -> (...)."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    areas = (first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1)
    return shared / (areas - shared).clamp_min(1e-9)


def shape_error(predicted: Tensor, target: Tensor, region: Tensor | None = None, align: str = "similarity") -> Tensor:
    """Root mean square distance of corresponding vertices after alignment: (B, V, 3) metres twice -> (B,) mm.

    Args:
        region: (V,) bool, the vertices that are aligned and measured, such as the face without scalp and
            neck; all when None.
        align: "similarity" (rotation, translation, scale), "rigid" (without scale) or "none".
    """
    if align not in ("similarity", "rigid", "none"):
        raise ValueError(f"align is {align!r}; it must be 'similarity', 'rigid' or 'none'.")
    if region is not None:
        predicted, target = predicted[:, region], target[:, region]
    if align != "none":
        predicted = similarity_align(predicted, target, scale=align == "similarity").apply(predicted)
    return 1000 * (predicted - target).square().sum(-1).mean(-1).sqrt()


def rotation_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Angle between rotation matrices (B, 3, 3) in degrees: (B,)."""
    return torch.rad2deg(rotation_angle(predicted, target))


def error_ratio(error: Tensor, baseline: Tensor) -> float:
    """Mean error over the mean error of a trivial baseline: below 1 something was learnt. (N,), (N,)."""
    return float(error.double().mean() / baseline.double().mean().clamp_min(1e-12))


def correlation(predicted: Tensor, target: Tensor) -> Tensor:
    """Pearson correlation over the samples of each column: (N, C), (N, C) -> (C,).

    0 where either side does not vary, which is also what a constant prediction gets.
    """
    predicted, target = predicted.double(), target.double()
    p, t = predicted - predicted.mean(0), target - target.mean(0)
    spread = p.square().sum(0).sqrt() * t.square().sum(0).sqrt()
    return torch.where(spread > 1e-9, (p * t).sum(0) / spread.clamp_min(1e-9), 0)


@dataclass(frozen=True)
class CoefficientScores:
    """How well each of C coefficients is predicted, next to predicting its mean.

    Attributes:
        correlation: (C,) as `correlation` gives it.
        error: (C,) mean absolute error.
        baseline: (C,) mean absolute error of predicting the mean.
    """

    correlation: Tensor
    error: Tensor
    baseline: Tensor


def coefficient_scores(predicted: Tensor, target: Tensor, mean: Tensor | None = None) -> CoefficientScores:
    """Score predicted coefficients (N, C) against target (N, C).

    `mean` (C,) is what the baseline predicts, by default the mean of the targets.
    """
    predicted, target = predicted.double(), target.double()
    mean = target.mean(0) if mean is None else mean.double()
    errors = ((guess - target).abs().mean(0) for guess in (predicted, mean))
    return CoefficientScores(correlation(predicted, target), *errors)


def masked_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute colour difference inside a mask, NaN where that is empty.

    Shapes: (B, 3, H, W), (B, 3, H, W), (B, 1, H, W) -> (B,).
    """
    mask = mask.to(predicted)
    difference = ((predicted - target).abs() * mask).flatten(1).sum(1)
    return difference / (predicted.shape[1] * mask.flatten(1).sum(1))


def psnr(predicted: Tensor, target: Tensor) -> Tensor:
    """Peak signal to noise ratio in dB of images (B, 3, H, W) in [0, 1]: (B,); infinite where equal."""
    return -10 * torch.log10((predicted - target).square().flatten(1).mean(1))


def ssim(predicted: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity of images (B, 3, H, W) in [0, 1], window of 11 px: (B,), 1 where equal.

    With a mask (B, 1, H, W) the mean over the windows whose middle is in it, NaN where it is empty.
    """
    # Comes with the extra "train", like the other packages that only measuring and training need.
    from torchmetrics.functional.image import structural_similarity_index_measure as similarity

    whole, local = similarity(predicted, target, data_range=1.0, reduction="none", return_full_image=True)
    if mask is None:
        return whole.reshape(-1)
    mask = mask.to(local)
    return (local.mean(1, keepdim=True) * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


def frechet_distance(predicted: Tensor, target: Tensor) -> float:
    """Fréchet distance of two sets of features (N, D), (M, D), each taken as a normal distribution.

    This is FID when the features are those of Inception. It falls with the number of samples, so that only
    figures of equal N, M and features can be compared.
    """
    if min(len(predicted), len(target)) < 2:
        return float("nan")
    predicted, target = predicted.double(), target.double()
    offset = (predicted.mean(0) - target.mean(0)).square().sum()
    # The root of the covariances' product has as its trace the sum of the singular values of p @ t.T, which
    # also exists where there are fewer samples than features. QR makes p and t small when there are more.
    p, t = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (predicted, target))
    p, t = (torch.linalg.qr(x, mode="r").R for x in (p, t))
    shared = torch.linalg.svdvals(p @ t.T).sum()
    return float((offset + p.square().sum() + t.square().sum() - 2 * shared).clamp_min(0))
