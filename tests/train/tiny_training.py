"""The smallest training script there can be: a network with buffers of both kinds learns a line."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from train import common


class Line(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, width: int = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
        self.register_buffer("triangles", torch.tensor([[0, 5, 1001], [7, 3, 2047]]))
        self.register_buffer("statistics", torch.rand(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def samples(seed: int, batch_size: int):
    generator = torch.Generator().manual_seed(seed)
    while True:
        x = torch.rand(batch_size, 1, generator=generator)
        yield {"x": x, "y": 2 * x - 1}


def main(arguments: list[str] | None = None) -> None:
    options = common.parse(common.parser("Learn a line.", "line"), arguments)
    run = common.Run(options)
    model = Line(**options.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate)
    model, optimizer = run.prepare(model, optimizer)
    averaged = run.average(model, "line", full_precision=("layers.2",))
    everywhere = run.accelerator.gather(averaged.statistics)
    assert (everywhere == everywhere[0]).all(), "all processes begin with the same buffers"

    def validate() -> None:
        x = torch.linspace(0, 1, 16, device=run.device)[:, None]
        predicted = averaged(x)
        run.log(**{"validation.error": (predicted - (2 * x - 1)).abs().mean()})
        run.log_images("line", predicted.view(4, 1, 2, 2).expand(-1, 3, -1, -1))

    for batch in run.steps(samples(run.data_seed, options.batch_size), validate):
        with run.autocast():
            predicted = model(batch["x"])
        loss = (predicted.float() - batch["y"]).square().mean()
        run.optimize(loss, optimizer)
        run.log(loss=loss)


if __name__ == "__main__":
    common.command(main)
