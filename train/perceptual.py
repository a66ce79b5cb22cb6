"""Networks that compare pictures: by activations (the perceptual loss), and by the expressions read in them."""

import torch
from safetensors.torch import load_file
from torch import nn

from lirec.errors import LirecError
from lirec.geometry import matrix_to_euler, project
from lirec.geometry.view_synthesis import HeadView
from lirec.models.morphable_model import MorphableModel
from lirec.models.rec_net import RecNet
from lirec.models.weights import find_folder, load_model
from train.data.augment import cut_out
from train.rec_net import FaceProbes

VGG19 = "timm/vgg19.tv_in1k"
VGG19_PLAN = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool", 512, 512)


class Vgg19Features(nn.Module):
    """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG-19 (Simonyan and Zisserman 2015), for (B, 3, H, W) in
    [0, 1]. The layers are numbered as in torchvision, whose weights it takes."""

    TAPS = (1, 6, 11, 20, 29)

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for item in VGG19_PLAN:
            if item == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, item, 3, padding=1), nn.ReLU()]
                channels = item
        self.features = nn.Sequential(*layers[: self.TAPS[-1] + 1])
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("deviation", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x, taken = (images - self.mean) / self.deviation, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.TAPS:
                taken.append(x)
        return taken


class RecNetFeatures(nn.Module):
    """Stem and first three stages of a trained RecNet: what stands in for VGG-19 where that cannot be had."""

    def __init__(self, rec_net: RecNet):
        super().__init__()
        resnet = rec_net.backbone.resnet
        self.embedder, self.stages = resnet.embedder, resnet.encoder.stages[:3]

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = self.embedder.embedder((images - 0.5) / 0.25)
        taken = [x]
        x = self.embedder.pooler(x)
        for stage in self.stages:
            x = stage(x)
            taken.append(x)
        return taken


def feature_network(rec_net: str) -> tuple[nn.Module, str]:
    """VGG-19 with weights of ImageNet from the Hub, else the RecNet at `rec_net`; and its name."""
    try:
        weights = load_file(find_folder(VGG19) / "model.safetensors")
    except LirecError:
        network, name = RecNetFeatures(load_model(RecNet, rec_net)), "RecNet"
    else:
        network, name = Vgg19Features(), "VGG-19"
        missing, _ = network.load_state_dict(weights, strict=False)
        if set(missing) - {"mean", "deviation"}:
            raise ValueError(f"{VGG19} lacks {', '.join(missing)}.")
    return network.eval().requires_grad_(False), name


class ExpressionReader(nn.Module):
    """What a trained RecNet reads in drawn faces against what it reads in the true ones. A gap of a pixel between lips
    or lids, which a face's look hinges on, is next to nothing in the mean colour of a picture."""

    def __init__(self, rec_net: RecNet, model: MorphableModel):
        super().__init__()
        self.rec_net, self.model = rec_net.eval().requires_grad_(False), model
        self.probes = FaceProbes(model)

    def forward(self, drawn: torch.Tensor, true: torch.Tensor, view: HeadView) -> torch.Tensor:
        """
        Mean distance, in millimetres, by which the expressions of pictures (B, 3, S, S) move the face differently.

        Args:
            view: the heads in them.
        """
        window = self._window(view)
        with torch.no_grad():
            wanted = self._read(true, window)
        move = 1e3 * self.probes.displace(self._read(drawn, window) - wanted, "expression")
        distance = (move.square().sum(-1) + 1e-4).sqrt() - 1e-2  # smooth at 0
        return (distance * self.probes.weights).mean()

    def _window(self, view: HeadView) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Shift, side and angle of upright windows round the landmarks, as `cut_out` takes them."""
        angles = matrix_to_euler(view.rotation)
        points = self.model.landmarks(project(view.vertices, view.rotation, view.translation, view.K), angles)
        low, high = points.amin(1), points.amax(1)
        side = self.rec_net.config.crop_scale * (high - low).amax(1)
        return (low + high) / 2 - 0.5, side, angles[:, 2]

    def _read(self, images: torch.Tensor, window: tuple[torch.Tensor, ...]) -> torch.Tensor:
        crops = cut_out(images.float(), *window, self.rec_net.config.image_size)
        return self.rec_net(crops.contiguous(memory_format=torch.channels_last)).expression
