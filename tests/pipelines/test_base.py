"""Pipelines and networks load from a folder whole or not at all, with one sentence."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lirec import LirecError
from lirec.models.weights import WEIGHTS, load_model, save_model
from tests.pipelines.tiny_pipeline import TinyDecoder, TinyEncoder, TinyPipeline, make_folder

INPUT = torch.linspace(-1, 1, 12).view(3, 4)


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path / "tiny")
    return tmp_path / "tiny"


def sentence(action) -> str:
    with pytest.raises(LirecError) as raised:
        action()
    text = str(raised.value)
    assert "\n" not in text and text.endswith("."), text
    return text


def change_weights(path, change):
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def test_halves_are_loaded_as_float32(folder):
    pipeline = TinyPipeline.from_pretrained(folder)
    stored = load_file(folder / "encoder" / WEIGHTS)
    assert stored["layer.weight"].dtype == torch.float16
    assert pipeline.encoder.layer.weight.dtype == torch.float32
    assert torch.equal(pipeline.encoder.layer.weight, stored["layer.weight"].float())
    assert torch.equal(pipeline.encoder.triangles, torch.tensor([[0, 1, 2], [4097, 70001, 3]]))
    assert not pipeline.encoder.training


def test_dtype_leaves_whole_numbers_alone(folder):
    pipeline = TinyPipeline.from_pretrained(folder, dtype=torch.bfloat16)
    assert pipeline.encoder.layer.weight.dtype == torch.bfloat16
    assert pipeline.encoder.triangles.dtype == torch.int64


def test_saved_again_gives_the_same(folder, tmp_path):
    pipeline = TinyPipeline.from_pretrained(folder)
    pipeline.save_pretrained(tmp_path / "again")
    again = TinyPipeline.from_pretrained(str(tmp_path / "again"))
    assert torch.equal(pipeline(INPUT).values, again(INPUT).values)


def test_component_left_out_or_given(tmp_path):
    make_folder(tmp_path / "tiny", decoder=False)
    assert TinyPipeline.from_pretrained(tmp_path / "tiny").decoder is None
    decoder = TinyDecoder()
    assert TinyPipeline.from_pretrained(tmp_path / "tiny", decoder=decoder).decoder is decoder


def test_shards(folder, monkeypatch):
    monkeypatch.setattr("lirec.models.weights.MAX_SHARD_SIZE", "0.05KB")
    encoder = load_model(TinyEncoder, folder, "encoder")
    save_model(encoder, folder / "encoder")
    shards = sorted((folder / "encoder").glob("*.safetensors"))
    assert len(shards) > 1
    again = load_model(TinyEncoder, folder, "encoder")
    assert torch.equal(again(INPUT), encoder(INPUT))
    shards[0].unlink()
    assert shards[0].name in sentence(lambda: load_model(TinyEncoder, folder, "encoder"))


def test_full_precision_is_kept(tmp_path):
    encoder = TinyEncoder()
    save_model(encoder, tmp_path, full_precision=["layer."])
    again = load_model(TinyEncoder, tmp_path)
    assert torch.equal(again.layer.weight, encoder.layer.weight)


def test_missing_weight_in_a_file(folder):
    change_weights(folder / "encoder" / WEIGHTS, lambda weights: weights.pop("layer.bias"))
    assert "lack layer.bias" in sentence(lambda: TinyPipeline.from_pretrained(folder))


def test_missing_weight_in_a_shard(folder, monkeypatch):
    monkeypatch.setattr("lirec.models.weights.MAX_SHARD_SIZE", "0.05KB")
    save_model(load_model(TinyEncoder, folder, "encoder"), folder / "encoder")
    shard = next(p for p in (folder / "encoder").glob("*.safetensors") if "layer.bias" in load_file(p))
    change_weights(shard, lambda weights: weights.pop("layer.bias"))
    assert "layer.bias" in sentence(lambda: TinyPipeline.from_pretrained(folder))


def test_weight_too_many(folder):
    change_weights(folder / "encoder" / WEIGHTS, lambda weights: weights.update(extra=torch.zeros(1)))
    assert "extra" in sentence(lambda: TinyPipeline.from_pretrained(folder))


def test_weights_of_another_size(folder):
    change_weights(folder / "decoder" / WEIGHTS, lambda w: w.update({"layer.weight": torch.zeros(1, 9)}))
    assert "do not fit" in sentence(lambda: TinyPipeline.from_pretrained(folder))


def test_weights_that_are_no_numbers(folder):
    change_weights(folder / "decoder" / WEIGHTS, lambda w: w["layer.bias"].fill_(float("nan")))
    assert "layer.bias" in sentence(lambda: TinyPipeline.from_pretrained(folder))
    encoder = TinyEncoder()
    encoder.norm.running_var.fill_(1e6)
    assert "norm.running_var" in sentence(lambda: save_model(encoder, folder / "encoder"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x10\x00", b"version https://git-lfs.github.com/spec/v1\noid 0\n", "half", b"PK" * 999],
)
def test_damaged_weights(folder, content):
    path = folder / "encoder" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-50] if content == "half" else content)
    text = sentence(lambda: TinyPipeline.from_pretrained(folder))
    assert "damaged" in text
    assert ("git lfs pull" in text) == (content[:7] == b"version")


def test_pickled_weights_are_not_read(folder):
    path = folder / "encoder" / WEIGHTS
    torch.save(load_file(path), folder / "encoder" / "diffusion_pytorch_model.bin")
    path.unlink()
    assert WEIGHTS in sentence(lambda: TinyPipeline.from_pretrained(folder))


@pytest.mark.parametrize("file", ["model_index.json", "encoder/config.json"])
def test_missing_or_damaged_json(folder, file):
    (folder / file).write_text("{")
    assert "cannot be read" in sentence(lambda: TinyPipeline.from_pretrained(folder))
    (folder / file).unlink()
    assert "there is no" in sentence(lambda: TinyPipeline.from_pretrained(folder))


def test_wrong_folder(folder, tmp_path):
    class OtherPipeline(TinyPipeline):
        pass

    assert "TinyPipeline" in sentence(lambda: OtherPipeline.from_pretrained(folder))
    assert "TinyEncoder" in sentence(lambda: load_model(TinyDecoder, folder, "encoder"))
    assert "model_index.json" in sentence(lambda: TinyPipeline.from_pretrained(tmp_path))
    sentence(lambda: TinyPipeline.from_pretrained(tmp_path / "nowhere"))
    sentence(lambda: TinyPipeline.from_pretrained(folder / "model_index.json"))
    sentence(lambda: TinyPipeline.from_pretrained("no/such-repository"))


def test_a_repository_cannot_name_other_classes(folder):
    index = json.loads((folder / "model_index.json").read_text())
    index["encoder"] = ["os", "system"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert "another version" in sentence(lambda: TinyPipeline.from_pretrained(folder))
