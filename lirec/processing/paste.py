"""A changed square put back into its photo so that no seam shows."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lirec.processing.crop import Crop

FADE = 0.08  # of the window's side: width of the rim in which the photo takes over
MOST_SHIFT = 10.0  # levels of 255 by which the rim's colours may be corrected


class PasteBack:
    """
    Puts squares of one size back into the same place of a photo, again and again.

    Towards the window's rim the patch fades into the photo; not where the window reaches the photo's own border. A
    slight difference of colour along the rim is taken off the whole patch.

    Args:
        image: (H, W, 3) uint8, the photo.
        crop: the window, upright, at whole px.
    """

    def __init__(self, image: np.ndarray, crop: Crop):
        left, top = (round(middle - crop.side / 2) for middle in crop.centre)
        self.side = round(crop.side)
        height, width = image.shape[:2]
        rows = slice(max(top, 0), min(top + self.side, height))
        columns = slice(max(left, 0), min(left + self.side, width))
        self.image, self.place = image, (rows, columns)
        self.inside = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
        vertical = _fade(self.side, top > 0, top + self.side < height)[self.inside[0]]
        horizontal = _fade(self.side, left > 0, left + self.side < width)[self.inside[1]]
        self.weight = (vertical[:, None] * horizontal)[..., None]
        self.region = image[rows, columns].astype(np.float32)
        self.rim = (self.weight[..., 0] > 0.02) & (self.weight[..., 0] < 0.9)

    def __call__(self, patch: np.ndarray) -> np.ndarray:
        """
        Args:
            patch: (S, S, 3) uint8, the whole window at any size.

        Returns:
            (H, W, 3) uint8, a new picture.
        """
        if len(patch) != self.side:
            patch = np.asarray(Image.fromarray(patch).resize((self.side, self.side), Image.Resampling.BICUBIC))
        change = patch[self.inside] - self.region
        if self.rim.any():
            # The median, since hair and shoulders that cross the rim are no difference of colour.
            change -= np.median(change[self.rim][::7], axis=0).clip(-MOST_SHIFT, MOST_SHIFT)
        result = self.image.copy()
        result[self.place] = (self.region + self.weight * change + 0.5).clip(0, 255).astype(np.uint8)
        return result


def _fade(side: int, at_start: bool, at_end: bool) -> np.ndarray:
    """(side,) float32: 1 in the middle, smoothly to 0 at the ends that are to fade."""
    distance = np.arange(side, dtype=np.float32) + 0.5
    ramp = np.full(side, np.inf, np.float32)
    if at_start:
        ramp = np.minimum(ramp, distance)
    if at_end:
        ramp = np.minimum(ramp, side - distance)
    ramp = (ramp / max(FADE * side, 1)).clip(0, 1)
    return ramp * ramp * (3 - 2 * ramp)
