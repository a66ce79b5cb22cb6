"""The 68 landmarks (iBUG-68) as geometry: their parts, boxes and drawn lines."""

from dataclasses import dataclass

import torch

# Lines through the points of each part of the face: first and last point, whether the line closes, and a
# colour of its own, so that a network can tell left from right.
PARTS = {
    "jaw": (0, 16, False, (255, 255, 255)),
    "brow_left": (17, 21, False, (255, 96, 0)),
    "brow_right": (22, 26, False, (255, 224, 0)),
    "nose_bridge": (27, 30, False, (0, 255, 96)),
    "nose_base": (31, 35, False, (0, 192, 192)),
    "eye_left": (36, 41, True, (96, 96, 255)),
    "eye_right": (42, 47, True, (0, 192, 255)),
    "lips_outer": (48, 59, True, (255, 0, 96)),
    "lips_inner": (60, 67, True, (255, 0, 255)),
}


def draw_landmark_lines(
    points: torch.Tensor,
    size: int | tuple[int, int],
    shown: torch.Tensor | None = None,
    width: float | None = None,
    over: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    Landmark pictures: antialiased coloured lines. Differentiable in the points, wherever a line's edge is.

    Args:
        points: (B, 68, 2) px.
        size: edge of the square pictures, or their (height, width).
        shown: (B, 9) 0 for `PARTS` that are left out; all are drawn when None.
        width: of the lines, px; a 128th of the longer edge, at least 1, when None.
        over: (B, 3, height, width) in [0, 1] to draw on; black when None.

    Returns:
        (B, 3, height, width) in [0, 1].
    """
    if points.ndim != 3 or points.shape[1:] != (68, 2):
        raise ValueError(f"points must be (B, 68, 2), not {tuple(points.shape)}.")
    height, across = (size, size) if isinstance(size, int) else size
    width = max(max(height, across) / 128, 1) if width is None else width
    x = torch.arange(across, device=points.device, dtype=points.dtype) + 0.5
    y = torch.arange(height, device=points.device, dtype=points.dtype)[:, None] + 0.5
    picture = points.new_zeros(len(points), 3, height, across) if over is None else over.clone()
    for number, (first, last, closed, colour) in enumerate(PARTS.values()):
        line = points[:, first : last + 1]
        line = torch.cat((line, line[:, :1]), 1) if closed else line
        rows, columns = (_touched(line[..., axis], extent, width) for axis, extent in ((1, height), (0, across)))
        nearest = _squared_distance(x[columns], y[rows], line[:, :-1], line[:, 1:]).amin(1)
        cover = ((width + 1) / 2 - (nearest + 1e-8).sqrt()).clamp(0, 1)[:, None]
        if shown is not None:
            cover = cover * shown[:, number].reshape(-1, 1, 1, 1)
        below = picture[:, :, rows, columns].clone()
        tint = points.new_tensor(colour).reshape(3, 1, 1) / 255
        picture[:, :, rows, columns] = below + cover * (tint - below)
    return picture


def _touched(places: torch.Tensor, extent: int, width: float) -> slice:
    """The pixels of an axis that lines through places (B, N) may colour."""
    low, high = places.detach().aminmax()
    return slice(min(max(int(low - width - 1), 0), extent), min(max(int(high + width + 2), 0), extent))


def _squared_distance(x, y, start, end):
    """(B, N, H, W): of pixels at x (W,) and y (H, 1) from the segments between (B, N, 2) and (B, N, 2)."""
    span = (end - start)[..., None, None]
    from_x, from_y = x - start[..., 0, None, None], y - start[..., 1, None, None]
    along = span / span.square().sum(2, keepdim=True).clamp_min(1e-6)
    share = (from_x * along[:, :, 0] + from_y * along[:, :, 1]).clamp(0, 1)
    return (from_x - share * span[:, :, 0]).square() + (from_y - share * span[:, :, 1]).square()


@dataclass
class Frame:
    """
    Where faces are: the middle (B, 1, 2) and the longer side (B, 1, 1) of the boxes round their landmarks.
    """

    centre: torch.Tensor
    side: torch.Tensor

    @classmethod
    def of(cls, points: torch.Tensor) -> "Frame":
        """The frame of landmarks (B, 68, 2), in their unit."""
        low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)
        return cls((low + high) / 2, (high - low).amax(2, keepdim=True).clamp_min(1e-6))

    def enter(self, points: torch.Tensor) -> torch.Tensor:
        """Points with the middle at 0 and the longer side 1."""
        return (points - self.centre) / self.side

    def leave(self, points: torch.Tensor) -> torch.Tensor:
        """The reverse of `enter`."""
        return points * self.side + self.centre

    def moved(self, placement: torch.Tensor) -> "Frame":
        """A frame that is elsewhere: placement (B, 3) is its shift, in sides, and the logarithm of its growth."""
        shift, growth = placement[:, None, :2], placement[:, None, 2:]
        return Frame(self.centre + shift * self.side, self.side * growth.exp())

    def placement(self, other: "Frame") -> torch.Tensor:
        """(B, 3): what `moved` needs to give the other frame."""
        shift = (other.centre - self.centre) / self.side
        return torch.cat((shift, (other.side / self.side).log()), 2)[:, 0]


def box_normalised(points: torch.Tensor) -> torch.Tensor:
    """Landmarks (B, 68, 2) of any unit, the middle of their box at 0 and its longer side 1."""
    return Frame.of(points).enter(points)
