"""Average two trainings of one network: `python -m train.average_weights BEFORE AFTER --output FOLDER`.

The mean of weights before and after a training often does better on pictures unlike those trained on than either
(WiSE-FT, Wortsman et al. 2022): here on photos, of which training sees none.
"""

import argparse
from pathlib import Path

import torch

from lirec.errors import LirecError
from lirec.models.dc_net import DCNet
from lirec.models.et_net import ETNet
from lirec.models.face_embedder import FaceEmbedder
from lirec.models.landmark_lifter import LandmarkLifter
from lirec.models.li_net import ExpressionGenerator, FaceRotator, LandmarkTransformer
from lirec.models.rec_net import RecNet
from lirec.models.weights import load_one_of, save_model
from train.common import command

NETWORKS = (
    RecNet, ETNet, DCNet, FaceEmbedder, LandmarkLifter, LandmarkTransformer, FaceRotator, ExpressionGenerator
)  # fmt: skip
"""What can be averaged."""


def settings(network: torch.nn.Module) -> dict:
    """What a network was made with."""
    return {name: value for name, value in network.config.items() if not name.startswith("_")}


@torch.no_grad()
def average(before: torch.nn.Module, after: torch.nn.Module, share: float) -> torch.nn.Module:
    """
    `after`, its weights and running statistics moved towards those of `before`.

    Args:
        share: of `after`, 0 to 1; whole numbers, such as indices, are its own.

    Raises:
        LirecError: the two differ in class or configuration.
    """
    if type(before) is not type(after) or settings(before) != settings(after):
        raise LirecError("Only weights of one network in one configuration can be averaged: these are of two.")
    given = before.state_dict()
    for name, tensor in after.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(given[name], 1 - share)
    return after


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", help="weights, a folder or Hub id")
    parser.add_argument("after", help="weights of the same network, trained on")
    parser.add_argument("--share", type=float, default=0.5, help="of the second, 0 to 1")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    options = parser.parse_args(arguments)
    if not 0 <= options.share <= 1:
        raise LirecError("--share lies between 0 and 1.")
    before, after = (load_one_of(NETWORKS, folder) for folder in (options.before, options.after))
    return save_model(average(before, after, options.share), options.output)


if __name__ == "__main__":
    command(main)
