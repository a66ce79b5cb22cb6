"""What all training scripts share, on a real (tiny) training in processes of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lirec import LirecError
from lirec.models.weights import WEIGHTS, load_model
from tests.hub.loopback_hub import LoopbackHub
from tests.train.tiny_training import Line
from train import common

ROOT = Path(__file__).parents[2]
SCRIPT = ("-m", "tests.train.tiny_training")
BASE = ("--learning-rate", "0.05", "--warmup-steps", "5", "--cpu")
TRIANGLES = torch.tensor([[0, 5, 1001], [7, 3, 2047]])


def start(*arguments, launcher=(), **environment) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *launcher, *SCRIPT, *BASE, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def error(model: Line) -> float:
    x = torch.linspace(0, 1, 9)[:, None]
    with torch.no_grad():
        return (model.eval()(x) - (2 * x - 1)).abs().max().item()


def test_train_push_resume_and_stop(tmp_path):
    output = tmp_path / "out"
    with LoopbackHub() as hub:
        process = start(
            *("--output", output, "--steps", 300, "--validation-every", 200, "--mixed-precision", "bf16"),
            *("--push_to_hub", "--hub_model_id", "me/line"),
            **hub.environment(str(tmp_path / "home")),
        )
        text, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert "step 200 " in text and "step 300 " in text and "validation.error" in text
        assert hub.messages == ["me/line@training: Step 200", "me/line@training: Step 300"]
        assert hub.repositories["me/line"]["private"]
        files = hub.files("me/line", "training")
        assert set(files) == {".gitattributes", "line/config.json", f"line/{WEIGHTS}"}
        assert files[f"line/{WEIGHTS}"] == (output / "line" / WEIGHTS).read_bytes()

    assert (output / "pictures" / "line.png").is_file() and list((output / "logs").iterdir())
    assert error(load_model(Line, output / "line")) < 0.1, "it has learnt the line"
    stored = load_file(output / "line" / WEIGHTS)
    assert stored["layers.0.weight"].dtype == torch.float16
    assert stored["layers.2.weight"].dtype == torch.float32
    assert torch.equal(stored["triangles"], TRIANGLES), "averaging leaves whole numbers alone"
    assert stored["layers.1.num_batches_tracked"] == 300
    assert not torch.equal(stored["layers.1.running_mean"], torch.zeros(4).half()), "buffers are averaged"

    with pytest.raises(LirecError, match="--resume"):
        common.Run(options(tmp_path, "--steps", "600", "--cpu"))

    saved = output / "checkpoint" / "run.json"
    before = json.loads(saved.read_text())
    assert before["step"] == 300
    process = start("--output", output, "--minutes", 5, "--resume", "--checkpoint-every", 1)
    deadline, now = time.monotonic() + 60, before
    while time.monotonic() < deadline and now == before:
        time.sleep(0.05)
        with contextlib.suppress(FileNotFoundError):  # while one checkpoint takes the other's place
            now = json.loads(saved.read_text())
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    after = json.loads(saved.read_text())
    assert process.returncode == 1 and f"Stopped at step {after['step']}: go on with --resume." in errors
    assert after["step"] > 300 and after["seconds"] > before["seconds"]
    assert sorted(path.name for path in output.glob("checkpoint*")) == ["checkpoint"]
    model = Line()
    model.load_state_dict(load_file(output / "checkpoint" / "model.safetensors"))
    assert error(model) < 0.3, "it went on from what it had learnt"


def test_two_processes(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    budget = ("--minutes", 0.02, "--validation-every", 1_000_000)
    process = start("--output", tmp_path / "out", *budget, launcher=launcher)
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        process.terminate()
    assert process.returncode == 0, errors
    assert output.count("validation.error") == 1, "one process writes"
    load_model(Line, tmp_path / "out" / "line")


def options(tmp_path, *arguments):
    parser = common.parser("Learn a line.", "line")
    return common.parse(parser, ["--output", str(tmp_path / "out"), *arguments])


def test_presets(tmp_path):
    preset = tmp_path / "small.toml"
    preset.write_text("steps = 7\nlearning-rate = 0.5\nchannels_last = true\n[model]\nwidth = 2\n")
    result = options(tmp_path, "--preset", str(preset), "--steps", "9")
    assert (result.steps, result.learning_rate, result.channels_last) == (9, 0.5, True)
    assert result.model == {"width": 2}

    parser = common.parser("Learn lines.", "line")
    parser.add_argument("--data", nargs="+", choices=["a", "b"])
    preset.write_text("steps = 7\ndata = ['a', 'b']\n")
    assert common.parse(parser, ["--preset", str(preset)]).data == ["a", "b"]
    preset.write_text("data = ['a', 'c']\n")
    with pytest.raises(LirecError, match="sets data to"):
        common.parse(parser, ["--preset", str(preset)])


@pytest.mark.parametrize("content", ["speed = 1", "steps = 'many'", "mixed_precision = 'fp8'", "steps ="])
def test_wrong_presets(tmp_path, content):
    (tmp_path / "wrong.toml").write_text(content)
    with pytest.raises(LirecError, match=r"wrong\.toml"):
        options(tmp_path, "--preset", str(tmp_path / "wrong.toml"))


def test_presets_that_are_no_text(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"steps = 7 # \xff")
    for name in ("folder.toml", "bytes.toml"):
        with pytest.raises(LirecError, match="cannot be read"):
            options(tmp_path, "--preset", str(tmp_path / name))


@pytest.mark.parametrize("settings", [{"colour": 1}, {"width": "wide"}])
def test_wrong_settings_of_a_network(settings):
    with pytest.raises(LirecError, match="give no Line"):
        common.build(Line, settings)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--steps"),
        (("--preset", "nothing"), "no preset nothing"),
        (("--steps", "0"), "--steps must be more than 0"),
        (("--minutes", "0"), "--minutes must be more than 0"),
        (("--steps", "1", "--validation-every", "0"), "--validation-every must be"),
        (("--steps", "1", "--checkpoint-every", "-1"), "--checkpoint-every must be"),
        (("--steps", "1", "--batch-size", "0"), "--batch-size must be"),
        (("--steps", "1", "--push_to_hub"), "--hub_model_id"),
        (("--steps", "1", "--push_to_hub", "--hub_model_id", "me/x"), "hf auth login"),
    ],
)
def test_wrong_options(tmp_path, monkeypatch, arguments, words):
    monkeypatch.setattr(common, "get_token", lambda: None)
    with pytest.raises(LirecError, match=words):
        options(tmp_path, *arguments)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(LirecError, match="nothing to resume"):
        common.Run(options(tmp_path, "--steps", "1", "--resume", "--cpu"))


def test_saved_progress(tmp_path):
    chosen = options(tmp_path, "--steps", "8", "--minutes", "2")
    assert common.saved_progress(chosen) is None
    folder = tmp_path / "out" / "checkpoint.previous"  # the other was being written
    folder.mkdir(parents=True)
    for step, seconds, spent in ((2, 30, 0.25), (2, 60, 0.5), (9, 60, 1.0)):
        (folder / "run.json").write_text(json.dumps({"step": step, "seconds": seconds}))
        assert common.saved_progress(chosen) == spent


def test_an_optimizer_that_fails_is_not_hidden_by_another(tmp_path):
    run = common.Run(options(tmp_path, "--steps", "1", "--cpu"))
    networks = [nn.Linear(1, 1), nn.Linear(1, 1)]
    *networks, good, bad = run.prepare(*networks, *(torch.optim.SGD(net.parameters()) for net in networks))
    with pytest.raises(LirecError, match="no longer a number"):
        for _ in range(20):
            run.optimize(networks[1](torch.ones(1, 1)).sum() * float("nan"), bad)
            run.optimize(networks[0](torch.ones(1, 1)).sum(), good)
    assert set(run._sums) == {"gradient_norm", "gradient_norm_2"}


def test_frozen():
    network, points = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with common.frozen(network):
        score = network(points).sum()
    score.backward()
    assert points.grad is not None and network.weight.grad is None and network.weight.requires_grad


def test_learning_rate_rises_and_falls_to_nothing():
    assert common.learning_rate_factor(0, 0.0, 10) == pytest.approx(0.1)
    assert common.learning_rate_factor(9, 0.0, 10) == pytest.approx(1.0)
    assert common.learning_rate_factor(500, 0.5, 10) == pytest.approx(0.5)
    assert common.learning_rate_factor(999, 1.0, 10) == pytest.approx(0.0)


def test_image_grid():
    images = torch.zeros(5, 3, 4, 6)
    images[3] = 1.0
    grid = common.image_grid(images, columns=3, gap=1)
    assert grid.shape == (3, 9, 20)
    assert torch.equal(grid[:, 5:9, 0:6], images[3]) and torch.equal(grid[:, 0:4, 7:13], images[1])
