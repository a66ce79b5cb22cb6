"""Landmarks of two people who make the same motions, without pictures: what LI-Net's landmark transformer learns from.

Thousands a second: of the morphable model only the vertices that can be landmarks are moved.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from lirec.geometry import euler_to_matrix, project
from lirec.geometry.camera import FARTHEST, NEAREST
from lirec.models.morphable_model import NECK_PIVOT, MorphableModel
from train.data.skins import Dice
from train.data.synthetic import HELD_OUT_SEED, ExpressionSampler, random_angles

FRESH = -100  # label of people that are not told apart; what `cross_entropy` ignores


@dataclass
class LandmarkQuartets:
    """
    Landmarks (B, 68, 2) of B pairs of people, each making two motions: p and q. Each has a camera that sees both, while
    the head turns about its neck. Lengths are in widths of the field of view of a camera with focal length 1.

    Attributes:
        source, turned: the source making p and q, before its own camera.
        before, driving: the driver making p and q, before its own: L_{d,p}, L_{d,q}.
        wanted: L_{s,q}, the source making q where the driver does, before the driver's camera.
        label: (B,) the source's number in the pool of people that are told apart; FRESH for others.
        angles: (B, 3) of q, radians.
    """

    source: torch.Tensor
    turned: torch.Tensor
    before: torch.Tensor
    driving: torch.Tensor
    wanted: torch.Tensor
    label: torch.Tensor
    angles: torch.Tensor

    def __len__(self):
        return len(self.source)


@dataclass
class LandmarkHeads:
    """
    Landmarks (B, 68, 2) and what they are of: identity (B, 80), expression (B, 51), and angles (B, 3) in radians, at a
    distance (B,) in metres.
    """

    landmarks: torch.Tensor
    identity: torch.Tensor
    expression: torch.Tensor
    angles: torch.Tensor
    distance: torch.Tensor


def batches(draw: Callable, count: int, seed: int) -> Iterator:
    """Endless draws, by a method of `LandmarkMotions`, below the seeds kept for evaluation."""
    while True:
        yield draw(count, seed % HELD_OUT_SEED)
        seed += 1


class LandmarkMotions:
    """
    Draws quartets, and single heads.

    Args:
        model: the morphable model; quartets are drawn where it is.
        people: size of the pool of sources that come again and again; half of the sources are of it.
    """

    def __init__(self, model: MorphableModel, people: int = 1024):
        self.model = model.of_landmarks()
        self.expressions = ExpressionSampler(model.expression_names)
        self.people = people

    @torch.no_grad()
    def sample(self, count: int, seed: int) -> LandmarkQuartets:
        """`count` quartets; seeds from `HELD_OUT_SEED` on, which draw nobody of the pool, are for evaluation."""
        generator = torch.Generator(self.model.device).manual_seed(seed)
        dice = Dice(count, generator)
        source, driver = self._identity(dice), self._identity(dice)
        label = torch.full((count,), FRESH, device=self.model.device)
        if seed < HELD_OUT_SEED:
            label[: count // 2] = torch.randint(
                self.people, (count // 2,), generator=generator, device=self.model.device
            )
            source[: count // 2] = self._pool()[label[: count // 2]]
        motions = [(self.expressions.sample(dice), random_angles(dice)) for _ in range(2)]
        expression, angles = motions[0]
        calm = dice.chance(0.5)[:, None]  # most photos: a calm face that looks about into the camera
        motions[0] = (expression * (1 - 0.7 * calm), torch.where(calm > 0, angles.clamp(-0.2, 0.2), angles))
        first, turned = self._seen(self._distance(dice), source, motions)
        place = self._distance(dice)
        driving, before = self._seen(place, driver, motions[::-1])
        (wanted,) = self._seen(place, source, motions[1:])
        return LandmarkQuartets(first, turned, before, driving, wanted, label, motions[1][1])

    @torch.no_grad()
    def sample_heads(self, count: int, seed: int) -> LandmarkHeads:
        """`count` people, each making one motion; seeds as of `sample`."""
        dice = Dice(count, torch.Generator(self.model.device).manual_seed(seed))
        identity, expression, angles = self._identity(dice), self.expressions.sample(dice), random_angles(dice)
        distance = self._distance(dice)
        (points,) = self._seen(distance, identity, [(expression, angles)])
        return LandmarkHeads(points, identity, expression, angles, distance)

    def _identity(self, dice: Dice) -> torch.Tensor:
        return dice.normal(0, 1, self.model.config.identity_count) * dice.uniform(0.6, 1.35, 1)

    def _pool(self) -> torch.Tensor:
        generator = torch.Generator(self.model.device).manual_seed(0)
        return self._identity(Dice(self.people, generator))

    @staticmethod
    def _distance(dice: Dice) -> torch.Tensor:
        return torch.exp(dice.uniform(math.log(NEAREST), math.log(FARTHEST)))

    def _seen(self, distance: torch.Tensor, identity, motions) -> list[torch.Tensor]:
        """Landmarks of people making motions before cameras (B,) metres away, that look at the first."""
        translation = torch.stack((0 * distance, 0 * distance, distance), 1)
        camera = torch.eye(3, device=distance.device).expand(len(distance), 3, 3)
        neck, at_first, points = distance.new_tensor(NECK_PIVOT), None, []
        for expression, angles in motions:
            rotation = euler_to_matrix(angles)
            at_first = rotation if at_first is None else at_first
            place = translation + (at_first - rotation) @ neck
            vertices = self.model(identity, expression)
            points.append(self.model.landmarks(project(vertices, rotation, place, camera), angles))
        return points
