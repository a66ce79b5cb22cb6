"""The network whose activations the perceptual loss compares."""

import torch
from safetensors.torch import load_file
from torch import nn

from lirec.errors import LirecError
from lirec.models.rec_net import RecNet
from lirec.models.weights import find_folder, load_model

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
