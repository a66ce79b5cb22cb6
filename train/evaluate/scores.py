"""What is measured of pictures, by what drew them, and the features that FID compares."""

import math
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from lirec.metrics import frechet_distance
from lirec.models.face_embedder import FaceEmbedder
from train.evaluate.report import Report

UNTOUCHED, PAPER = "source untouched", "paper"


class PictureFeatures:
    """What FID compares: Inception's features where its weights are, else those of lirec's FaceEmbedder.

    Inception comes with the package torch-fidelity, and its weights are taken from the cache of torch.hub only.

    Attributes:
        name: of the network.
    """

    INCEPTION = "weights-inception-2015-12-05-6726825d.pth"

    def __init__(self, embedder: FaceEmbedder):
        self.embedder, self.inception = embedder, None
        self.name = "FaceEmbedder"
        if find_spec("torch_fidelity") and (Path(torch.hub.get_dir()) / "checkpoints" / self.INCEPTION).is_file():
            from torchmetrics.image.fid import FrechetInceptionDistance

            self.inception = FrechetInceptionDistance(2048).inception.to(embedder.device)
            self.name = "Inception"

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> (B, D): Inception's last, or the means of the FaceEmbedder's four stages."""
        if self.inception is not None:
            return self.inception((255 * pictures).round().byte()).cpu()
        return torch.cat([stage.float().mean((2, 3)) for stage in self.embedder.features(pictures)], 1).cpu()


class Scores:
    """What was measured of each picture, by figure and by what drew it."""

    def __init__(self):
        self.values: dict[tuple[str, str], list[Tensor]] = defaultdict(list)

    def add(self, figure: str, kind: str, values: Tensor) -> None:
        self.values[figure, kind].append(values.detach().cpu())

    def mean(self, figure: str, kind: str) -> float:
        return float(torch.cat(self.values[figure, kind]).double().mean())

    def report(self, report: Report, figure: str, unit: str = "", paper: float = math.nan, baseline: float = math.nan):
        """Append the means of a figure; `baseline` is for figures that were not measured on the source."""
        parts = {kind: torch.cat(values) for (name, kind), values in self.values.items() if name == figure}
        count = len(parts["result"]) if "result" in parts else 0
        means = {kind: float(values.double().nanmean()) for kind, values in parts.items()}
        self._append(report, figure, {"result": math.nan, UNTOUCHED: baseline, **means}, unit, count, paper)

    def report_distance(self, report: Report, figure: str, target: str, paper: float) -> None:
        """Append the Fréchet distance of a figure's features to those of the target pictures."""
        parts = {kind: torch.cat(values) for (name, kind), values in self.values.items() if name == figure}
        reference = parts.pop(target)
        distances = {kind: round(frechet_distance(features, reference), 6) for kind, features in parts.items()}
        self._append(report, figure, distances, "", len(reference), paper)

    @staticmethod
    def _append(report, figure, numbers, unit, count, paper) -> None:
        result, baseline = numbers.pop("result"), numbers.pop(UNTOUCHED)
        report.add(figure, result, baseline, unit, count, {**numbers, PAPER: paper})
