"""Clips whose frames do what is wanted of them."""

import math

import torch

from train.data.skins import Dice
from train.data.synthetic import ExpressionSampler, Motion, RenderedFaces, SyntheticFaces, random_angles


def rotation_clips(renderer: SyntheticFaces, clips: int, seed: int, wild: float = 0.3) -> RenderedFaces:
    """
    Three frames each of `clips` scenes: a face; the same expression in another pose; another expression in that pose.

    Args:
        renderer: draws them.
        clips, seed, wild: as of `SyntheticFaces.sample_clips`.
    """
    generator = torch.Generator(renderer.device).manual_seed(seed + 7_654_321)  # other numbers than the people's
    dice = Dice(clips, generator)
    first, second = (renderer.expressions.sample(dice) for _ in range(2))
    calm = 1 - dice.chance(0.4) * dice.uniform(0.5, 1)
    first = first * calm[:, None]
    motion = Motion(torch.stack((first, first, second), 1).flatten(0, 1), rotation_angles(dice))
    return renderer.sample_clips(clips, 3, seed, wild, motion=motion)


def paired_motions(expressions: ExpressionSampler, count: int, generator: torch.Generator) -> Motion:
    """A calm face that looks nearly into the camera, and `count - 1` motions of any expression and pose."""
    dice = Dice(count, generator)
    expression, angles = expressions.sample(dice), random_angles(dice)
    expression[0] *= 0.3
    angles[0] = angles[0].clamp(-0.2, 0.2)
    return Motion(expression, angles)


def rotation_angles(dice: Dice) -> torch.Tensor:
    """(3 B, 3) radians of three frames of B clips: pose 1, and twice pose 2, which is anywhere up to profiles in half
    of the clips."""
    yaw = torch.where(dice.chance(0.3) > 0, dice.uniform(-60, 60), dice.normal(0, 16))
    first = torch.stack((dice.normal(2, 9), yaw, dice.normal(0, 7)), 1)
    near = (yaw + dice.normal(0, 22)).clamp(-85, 85)
    turned = torch.where(dice.chance(0.5) > 0, dice.uniform(-85, 85), near)
    second = torch.stack((dice.normal(2, 11), turned, first[:, 2] + dice.normal(0, 8)), 1)
    limit = yaw.new_tensor([35.0, 85.0, 35.0])
    return torch.stack((first, second, second), 1).flatten(0, 1).clamp(-limit, limit) * (math.pi / 180)
