"""The smallest real pipeline: two networks, one of which may be left out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from lirec.pipelines.base import LirecPipeline


class TinyEncoder(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, width: int = 8):
        super().__init__()
        self.layer = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("triangles", torch.tensor([[0, 1, 2], [4097, 70001, 3]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(x))


class TinyDecoder(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, width: int = 8):
        super().__init__()
        self.layer = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


@dataclass
class TinyOutput:
    values: torch.Tensor


class TinyPipeline(LirecPipeline):
    _optional_components = ["decoder"]

    def __init__(self, encoder: TinyEncoder, decoder: TinyDecoder | None = None):
        super().__init__()
        self.register_modules(encoder=encoder, decoder=decoder)

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> TinyOutput:
        values = self.encoder(x)
        return TinyOutput(values if self.decoder is None else self.decoder(values))


def make_folder(folder, seed: int = 0, decoder: bool = True) -> TinyPipeline:
    """Save a pipeline with random weights as it would be published, and return it as loaded from there."""
    from lirec.models.weights import save_model

    torch.manual_seed(seed)
    pipeline = TinyPipeline(TinyEncoder(), TinyDecoder() if decoder else None)
    pipeline.save_pretrained(folder)
    save_model(pipeline.encoder, folder / "encoder")
    if decoder:
        save_model(pipeline.decoder, folder / "decoder")
    return TinyPipeline.from_pretrained(folder)
