"""The evaluation of LI-Net: its protocol, its figures, and the script."""

import json
from dataclasses import replace

import pytest
import torch

from lirec import LINetPipeline, LirecError
from lirec.models.li_net import LAYERS, ExpressionGenerator, FaceRotator, LandmarkTransformer
from lirec.models.weights import save_model
from train.evaluate import li_net
from train.evaluate.li_net import FULL, PIX2PIX, TABLES, VANILLA, WITH_T, Methods, evaluate, held_out_drives
from train.evaluate.scores import UNTOUCHED


@pytest.fixture(scope="module")
def pipeline(shipped_pipeline, landmark_lifter):
    torch.manual_seed(0)
    rotator, generator = FaceRotator(image_size=32, width=8).eval(), ExpressionGenerator(image_size=32, width=8).eval()
    generator.to_layers.bias.data[3 + LAYERS.index("warped")] = 5
    transformer = LandmarkTransformer(width=16, depth=1).eval()
    return LINetPipeline(transformer, landmark_lifter, rotator, generator, shipped_pipeline)


@pytest.fixture(scope="module")
def vanilla():
    torch.manual_seed(0)
    generator = ExpressionGenerator(image_size=32, width=8, rotated=False).eval()
    generator.to_layers.bias.data[3] = 5  # "warped"
    return generator


@pytest.fixture(scope="module")
def drives(morphable_model):
    return list(held_out_drives(morphable_model, persons=2, count=3, batch=2, size=64))


def test_protocol(drives):
    assert [len(batch.truth) for batch in drives] == [2, 1, 2, 1]
    first, second, other = drives[0], drives[1], drives[2]
    assert torch.equal(first.photo, second.photo) and not torch.equal(first.photo, other.photo)
    assert torch.equal(first.yaw, other.yaw)  # all persons get the same motions
    # background and shoulders stay, the head does not
    change = (first.truth - first.photo).abs().mean((0, 1))
    assert change[:4].mean() < 0.5 * change[24:40, 24:40].mean()
    # another head in the same place, before the same camera
    gap = (first.driving - first.wanted).norm(dim=2)
    size = (first.wanted.amax(1) - first.wanted.amin(1)).amax()
    assert 0.002 < gap.mean() / size < 0.15


def test_figures(pipeline, vanilla, drives):
    torch.manual_seed(0)
    pix2pix = ExpressionGenerator(image_size=32, width=8, output="rgb", rotated=False, encoder="concatenated").eval()
    methods = Methods(pipeline, vanilla, pix2pix)
    assert set(methods.by_name) == {FULL, VANILLA, WITH_T, PIX2PIX}
    report = evaluate(methods, drives)
    names = [figure.figure for figure in report.figures]
    assert names[:2] == ["SSIM", "FID"] and "landmark error, yaw 60-90°" in names and len(names) == 17
    assert report["landmark distance, yaw 0-30°"].others["true pictures"] == 0
    aims = [report[name] for name in names if name.startswith("landmarks before drawing")]
    assert all(0 < aim.others["driver"] < aim.baseline for aim in aims if aim.samples)
    similarity = report["SSIM"]
    assert similarity.samples == 6 and similarity.others["paper"] == 0.73
    # pixels that are moved are nearer to the truth than what an untrained network paints
    assert min(similarity.result, similarity.others[VANILLA]) > similarity.others[PIX2PIX] + 0.1
    assert report["FID"].others[PIX2PIX] > report["FID"].result
    truth = [report[name].others["true pictures"] for name in names if name.startswith("identity cosine")]
    assert all(value != value or value > 0 for value in truth)  # no face at all in some span of yaw: NaN
    for table in TABLES:
        text = table.text({"ours": {"SSIM": similarity.result, "FID": report["FID"].result}})
        assert "lirec, ours" in text and "0.73" in text
    assert UNTOUCHED not in similarity.others and report.details["seconds a picture"]["result"] > 0


def test_landmarks_that_leave_the_picture_are_not_looked_for(pipeline, drives):
    partly = replace(drives[0], wanted=drives[0].wanted.clone())
    partly.wanted[0, 8, 1] = 1.02  # the chin, just below
    report = evaluate(Methods(pipeline), [partly])

    def samples(figure):
        return sum(row.samples for row in report.figures if row.figure.startswith(figure))

    assert samples("landmark error") == samples("landmark distance") == len(partly.truth) - 1
    assert samples("landmarks before drawing") == samples("identity cosine") == len(partly.truth)


def test_distance_where_the_true_picture_can_be_read(pipeline, drives):
    """Of a picture without a face nobody can say where landmarks are."""
    easy = replace(drives[0], truth=drives[0].photo.repeat(2, 1, 1, 1), wanted=drives[0].source.repeat(2, 1, 1))
    hidden = replace(easy, truth=easy.truth.clone())
    hidden.truth[1] = 0.5
    for batch, legible in ((easy, 2), (hidden, 1)):
        report = evaluate(Methods(pipeline), [batch])
        rows = {name: [row for row in report.figures if row.figure.startswith(name)]
                for name in ("landmark distance", "distance where legible")}  # fmt: skip
        assert [sum(row.samples for row in group) for group in rows.values()] == [2, legible]


def test_script(pipeline, vanilla, tmp_path, capsys, monkeypatch):
    pipeline.save_pretrained(tmp_path / "li-net")
    save_model(vanilla, tmp_path / "vanilla" / "expression_generator")
    monkeypatch.setattr(li_net, "SIZE", 64)
    arguments = ["--weights", str(tmp_path / "li-net"), "--vanilla", str(tmp_path / "vanilla")]
    report = li_net.main([*arguments, "--persons", "1", "--count", "2", "--landmarks", "64", "--json",
                          str(tmp_path / "figures.json")])  # fmt: skip
    printed = capsys.readouterr().out
    assert "Table 1 of LI-Net" in printed and "lirec, vanilla + T" in printed and "FReeNet" in printed
    figure = report["landmarks of T, yaw 0-90°"]
    assert figure.samples == 64 and 1 < figure.baseline < 8
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert rows[0]["figure"] == "SSIM" and "--vanilla DIR" in report.command
    with pytest.raises(LirecError, match="--count"):
        li_net.main([*arguments, "--count", "1"])
