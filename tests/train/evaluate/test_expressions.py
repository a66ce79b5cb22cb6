"""The comparison of RecAugNet's expressions with RecNet's."""

import json

import pytest
import torch

from lirec import LirecError, RecAugNetPipeline
from lirec.models.et_net import ETNet
from train.evaluate import expressions


@pytest.fixture(scope="module")
def pipeline(untrained_pipeline):
    torch.manual_seed(1)
    et_net = ETNet(32, depths=(1, 1), hidden_sizes=(8, 16), embedding_size=8).eval()
    return RecAugNetPipeline(untrained_pipeline.rec_net, untrained_pipeline.morphable_model, et_net=et_net)


def test_report(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "weights")
    arguments = ["--weights", str(tmp_path / "weights"), "--count", "4", "--json", str(tmp_path / "out.json")]
    report = expressions.main(arguments)
    figure = report["movement, RMSE"]
    assert figure.samples == 4 and figure.baseline > 1 and set(figure.others) == {"RecNet", "degraded"}
    content = json.loads((tmp_path / "out.json").read_text())
    assert len(content["details"]["correlation, RecAugNet"]) == 51 and "--count 4" in content["command"]


def test_the_truth_scores_best(morphable_model):
    truth = torch.rand(6, 51, generator=torch.Generator().manual_seed(0))
    found = {"RecAugNet": truth.clone(), "RecNet": truth.roll(1, 0)}
    report = expressions._report(morphable_model, truth, found)
    assert report["movement, RMSE"].result == pytest.approx(0, abs=1e-4)
    assert report["movement, RMSE"].others["RecNet"] > 1
    assert report["coefficients with correlation >= 0.5"].result == 51
    assert report["coefficients with correlation >= 0.6"].result == 51
    assert report["coefficients, lowest correlation"].result == pytest.approx(1)
    assert set(report.details["error, RecNet"]) == set(morphable_model.expression_names)


def test_large_coefficients_are_told_apart(morphable_model):
    generator = torch.Generator().manual_seed(0)
    truth = 0.6 * torch.rand(8, 51, generator=generator)
    truth[:3, 5] = 0.9
    rival = truth.clone()
    rival[:3] += 0.2
    ours = truth.clone()
    ours[:3, 5] -= 0.05
    report = expressions._report(morphable_model, truth, {"RecAugNet": ours, "RecNet": rival})
    alone = report["coefficients, mean absolute error, of those above 0.7 alone"]
    assert (alone.result, alone.others["RecNet"]) == pytest.approx((0.05, 0.2), abs=1e-5) and alone.samples == 3
    ratio = report["coefficients, ratio to RecNet's error, of faces with any above 0.7"]
    assert ratio.result == pytest.approx(0.25 / 51, rel=1e-3) and ratio.samples == 3


def test_without_et_net(untrained_pipeline, tmp_path):
    untrained_pipeline.save_pretrained(tmp_path)
    with pytest.raises(LirecError, match="no et_net"):
        expressions.main(["--weights", str(tmp_path), "--count", "2"])
