"""What stands behind a rendered face: pieces of real textures and pictures without people, colours, shapes."""

import torch
import torch.nn.functional as F

from train.data.skins import Dice, column

# Pictures that come with scikit-image and show no human face.
PICTURES = (
    "coffee", "chelsea", "rocket", "hubble_deep_field", "immunohistochemistry", "brick", "grass", "gravel",
    "page", "text", "coins", "colorwheel", "moon", "retina",
)  # fmt: skip


class Backgrounds:
    """Random backgrounds out of a bank of pictures; `size` is the bank's resolution."""

    def __init__(self, device: str | torch.device = "cpu", size: int = 256):
        from skimage import data

        bank = []
        for name in PICTURES:
            try:
                picture = getattr(data, name)()
            except (ImportError, OSError, ConnectionError):  # some are downloaded at first use
                continue
            picture = torch.as_tensor(picture.copy()).float() / 255
            picture = picture[..., None].expand(-1, -1, 3) if picture.ndim == 2 else picture[..., :3]
            picture = picture.permute(2, 0, 1)[None]
            bank.append(
                F.interpolate(picture, (size, size), mode="bilinear", antialias=True, align_corners=False)
            )
        self.bank = torch.cat(bank).to(device)

    def sample(self, dice: Dice, size: int) -> torch.Tensor:
        """(B, 3, size, size) sRGB in [0, 1] for each of the dice's rows."""
        count = dice.count
        flat = (dice.uniform(0, 1, 3) * 0.5 + dice.uniform()[:, None] * 0.5).reshape(count, 3, 1, 1)
        result = flat.expand(count, 3, size, size).clone()
        wave = torch.cat([dice.noise(size, size, size / 2.5, size / 2.5) for _ in range(3)], 1)
        result += wave * column(dice.uniform(0, 0.15))

        from_bank = torch.nonzero(dice.chance(0.45)).flatten()
        if len(from_bank):
            chosen = dice.choice([1.0] * len(self.bank))[from_bank]
            zoom, turn = dice.uniform(0.15, 0.9)[from_bank], dice.normal(0, 0.4)[from_bank]
            flip = torch.where(dice.chance(0.5)[from_bank] > 0, -1.0, 1.0)
            shift = (dice.uniform(-1, 1, 2)[from_bank]) * (1 - zoom[:, None])
            matrix = torch.stack(
                (
                    torch.stack((zoom * turn.cos() * flip, -zoom * turn.sin(), shift[:, 0]), 1),
                    torch.stack((zoom * turn.sin() * flip, zoom * turn.cos(), shift[:, 1]), 1),
                ),
                1,
            )
            grid = F.affine_grid(matrix, (len(from_bank), 3, size, size), align_corners=False)
            picture = F.grid_sample(self.bank[chosen], grid, padding_mode="reflection", align_corners=False)
            tint = (1 + dice.normal(0, 0.25, 3)[from_bank]).reshape(-1, 3, 1, 1)
            picture = picture * tint * column(dice.uniform(0.4, 1.2)[from_bank]) + column(
                dice.normal(0, 0.1)[from_bank]
            )
            result[from_bank] = picture
        self._shapes(dice, result)
        grey = result.mean(1, keepdim=True)
        result = grey + (result - grey) * column(dice.uniform(0.1, 1.1))
        result += dice.noise(size, size, 1.5, 1.5) * column(dice.uniform(0, 0.05))
        soft = torch.nonzero(dice.chance(0.5)).flatten()  # out of focus, as backgrounds are
        if len(soft):
            small = max(8, size // int(torch.randint(4, 17, (), generator=dice.generator, device=dice.device)))
            blurred = F.interpolate(
                result[soft], (small, small), mode="bilinear", antialias=True, align_corners=False
            )
            result[soft] = F.interpolate(blurred, (size, size), mode="bicubic", align_corners=False)
        return result.clamp(0, 1)

    def _shapes(self, dice: Dice, result: torch.Tensor, most: int = 5) -> None:
        """Boxes and discs of one colour, on half of the pictures."""
        size = result.shape[-1]
        axis = (torch.arange(size, device=dice.device) + 0.5) / size
        wanted = dice.chance(0.5)
        for _ in range(most):
            here = wanted * dice.chance(0.6)
            centre, extent = dice.uniform(-0.1, 1.1, 2), dice.uniform(0.02, 0.4, 2)
            x = (axis[None] - centre[:, :1]) / extent[:, :1]
            y = (axis[None] - centre[:, 1:]) / extent[:, 1:]
            disc = dice.chance(0.4)[:, None, None]
            inside = (
                torch.where(
                    disc > 0,
                    x[:, None] ** 2 + y[:, :, None] ** 2,
                    torch.maximum(x[:, None].abs(), y[:, :, None].abs()),
                )
                < 1
            )
            colour = dice.uniform(0, 1, 3).reshape(-1, 3, 1, 1)
            mask = inside[:, None] * here.reshape(-1, 1, 1, 1)
            result += mask * (colour - result)
