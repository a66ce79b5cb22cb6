"""Publishing to a Hub on this machine, and reading from it: by id and revision, from the cache, offline."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from hub.publish import difference, evaluation_table, main
from tests.hub.loopback_hub import LoopbackHub
from tests.pipelines.tiny_pipeline import make_folder

ROOT = Path(__file__).parents[2]
INPUT = torch.linspace(-1, 1, 12).view(3, 4)

PRELUDE = """
import contextlib, io, json, os, sys, torch
from hub.publish import publish
from lirec import LirecError
from tests.pipelines.tiny_pipeline import TinyPipeline

x = torch.linspace(-1, 1, 12).view(3, 4)
text = {
    "title": "Tiny", "pipeline_tag": "image-to-3d", "tags": ["tiny"], "summary": "Very small.",
    "use": 'TinyPipeline.from_pretrained("REPOSITORY")', "training": "None.", "limits": "Many.",
    "licence": "Apache-2.0.",
}

def load(**where):
    return TinyPipeline.from_pretrained("me/tiny", **where)(x).values.flatten().tolist()

def push(folder, **how):
    return publish(folder, TinyPipeline, text, run=lambda pipeline: pipeline(x), repository="me/tiny", **how)

for line in sys.stdin:
    try:
        answer = eval(line)
    except LirecError as error:
        answer = f"LirecError: {error}"
    print("answer", json.dumps(answer), flush=True)
"""


class Worker:
    """A process that uses a loopback Hub: huggingface_hub reads its address when it is imported."""

    def __init__(self, hub: LoopbackHub, home: Path, **environment: str):
        base = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE],
            cwd=ROOT,
            env=base | hub.environment(str(home)) | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, expression: str):
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise AssertionError(f"the process ended at {expression}")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture(scope="module")
def work(hub, tmp_path_factory):
    worker = Worker(hub, tmp_path_factory.mktemp("home"))
    yield worker
    worker.close()


@pytest.fixture(autouse=True)
def empty(hub):
    hub.repositories.clear()
    hub.messages.clear()


def close_to(values: torch.Tensor):
    return pytest.approx(values.flatten().tolist(), abs=1e-6)


def test_publish_and_load(hub, work, tmp_path):
    first = make_folder(tmp_path / "one", seed=1)(INPUT).values
    second = make_folder(tmp_path / "two", seed=2, decoder=False)(INPUT).values
    figures = {"title": "Landmarks", "command": "python -m tiny", "rows": [{"error": 3.14159, "yaw": "all"}]}
    (tmp_path / "landmarks.json").write_text(json.dumps(figures))

    commit = work(f"push({str(tmp_path / 'one')!r}, evaluations=[{str(tmp_path / 'landmarks.json')!r}])")
    assert hub.messages == ["me/tiny@main: Update the weights"], "one commit"
    files = hub.files("me/tiny")
    network = ("config.json", "diffusion_pytorch_model.safetensors")
    assert set(files) == {
        ".gitattributes",
        "README.md",
        "evaluation/landmarks.json",
        "model_index.json",
        *(f"{name}/{file}" for name in ("encoder", "decoder") for file in network),
    }
    card = files["README.md"].decode()
    assert card.startswith("---\nlicense: apache-2.0\n") and "| 3.142 | all |" in card
    assert 'from_pretrained("me/tiny")' in card and "`TinyEncoder`" in card

    latest = work(f"push({str(tmp_path / 'two')!r}, message='Second')")
    assert hub.messages[1:] == ["me/tiny@main: Second"]
    assert latest == hub.repositories["me/tiny"]["branches"]["main"]
    assert not any(path.startswith("decoder") for path in hub.files("me/tiny")), "what is gone is deleted"
    assert work("load()") == close_to(second)
    assert work(f"load(revision={commit!r})") == close_to(first)
    asked = len(hub.requests)
    assert work("load(local_files_only=True)") == close_to(second)
    assert len(hub.requests) == asked, "the cache asks nothing"


def test_what_is_wrong_is_said_in_one_sentence(hub, work, tmp_path):
    make_folder(tmp_path / "one")
    work(f"push({str(tmp_path / 'one')!r}, private=True)")
    files = hub.files("me/tiny")
    weights = "encoder/diffusion_pytorch_model.safetensors"
    cases = {
        "damaged": files | {weights: files[weights][:-9]},
        "is missing": {path: content for path, content in files.items() if path != weights},
        "no model_index.json": {"README.md": b"# Nothing"},
    }
    for number, (words, content) in enumerate(cases.items()):
        hub.repositories["me/tiny"]["commits"][f"{number}" * 40] = content
        answer = work(f"load(revision='{number}' * 40)")
        assert answer.startswith("LirecError: ") and words in answer and "\n" not in answer
    assert "no revision 'v9'" in work("load(revision='v9')")
    hidden = work(f"load(token=False, cache_dir={str(tmp_path / 'cache')!r})")
    assert "hf auth login" in hidden, "it is private"


def test_a_folder_that_is_not_whole_is_not_published(hub, work, tmp_path):
    make_folder(tmp_path / "one")
    (tmp_path / "one" / "encoder" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    assert "damaged" in work(f"push({str(tmp_path / 'one')!r})")
    assert not hub.repositories and not hub.messages


def test_no_login(hub, work, tmp_path):
    make_folder(tmp_path / "one")
    token = work("os.environ.pop('HF_TOKEN')")
    assert "hf auth login" in work(f"push({str(tmp_path / 'one')!r})")
    work(f"os.environ.update(HF_TOKEN={token!r})")
    assert not hub.repositories


def test_without_a_hub(tmp_path):
    values = make_folder(tmp_path / "one")(INPUT).values
    with LoopbackHub() as hub:
        worker = Worker(hub, tmp_path / "home")
        worker(f"push({str(tmp_path / 'one')!r})")
        assert worker("load()") == close_to(values)
    # It is no longer there: what is cached is used, and an empty cache gives a sentence.
    assert worker("load()") == close_to(values)
    assert "was not reached" in worker(f"load(cache_dir={str(tmp_path / 'empty')!r})")
    # A download that was interrupted is not taken for the whole.
    for path in (tmp_path / "home" / "hub").glob("*/snapshots/*/encoder/*.safetensors"):
        path.unlink()
    assert "was not reached" in worker("load()")
    worker.close()


def test_difference():
    a = {"x": [torch.ones(2), 1.0, "a"], "y": Image.new("L", (2, 2))}
    assert difference(a, {"x": [torch.ones(2), 1.0 + 1e-9, "a"], "y": Image.new("L", (2, 2))}) is None
    assert "x.0" in difference(a, a | {"x": [torch.zeros(2), 1.0, "a"]})
    assert "x" in difference(a, a | {"x": [torch.ones(2)]})
    assert "y" in difference(a, a | {"y": Image.new("L", (2, 2), 255)})
    assert "NoneType" in difference(a, None)


def test_table_of_nested_figures():
    figures = {"command": "c", "by_yaw": {"0-30": 3.0, "30-60": 4.123456}, "frames": 770}
    table = evaluation_table(figures, "land_marks")
    assert table["title"] == "land marks" and table["columns"] == ["figure", "value"]
    assert table["rows"] == [["by yaw, 0-30", "3"], ["by yaw, 30-60", "4.123"], ["frames", "770"]]


def test_published_folders_are_small_and_safe():
    folders = [path.parent for path in (ROOT / "hub").glob("*/model_index.json")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors"}
    assert all(path.stat().st_size < 15e6 for path in files)
    assert sum(path.stat().st_size for path in files) < 57e6  # with all else, the repository stays under 60 MB


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """A folder with a small DCNet pipeline and, beside it, the reconstruction that it works with."""
    from lirec import DCNetPipeline, RecAugNetPipeline
    from lirec.models.dc_net import DCNet

    folder = tmp_path_factory.mktemp("driven")
    shutil.copytree(ROOT / "hub" / "rec-aug-net", folder / "rec-aug-net")
    torch.manual_seed(0)
    reconstruction = RecAugNetPipeline.from_pretrained(folder / "rec-aug-net")
    DCNetPipeline(DCNet(image_size=32, width=16), reconstruction).save_pretrained(folder / "dc-net")
    return folder


def test_a_pipeline_that_borrows_another_is_checked_without_it(driven):
    main([str(driven / "dc-net"), "--example", str(ROOT / "examples" / "astronaut.jpg")])
    card = (driven / "dc-net" / "README.md").read_text()
    assert "`dc_net`" in card and "`rec_net`" not in card  # of components
    assert not list(driven.glob("dc-net/rec*"))


def test_landmark_reenactment_is_published_whole(driven):
    from lirec import LINetPipeline, RecAugNetPipeline
    from lirec.models.landmark_lifter import LandmarkLifter
    from lirec.models.li_net import ExpressionGenerator, FaceRotator, LandmarkTransformer

    torch.manual_seed(0)
    networks = (kind(image_size=32, width=8) for kind in (FaceRotator, ExpressionGenerator))
    reconstruction = RecAugNetPipeline.from_pretrained(driven / "rec-aug-net")
    perceptrons = (kind(width=16, depth=1) for kind in (LandmarkTransformer, LandmarkLifter))
    pipeline = LINetPipeline(*perceptrons, *networks, reconstruction)
    pipeline.save_pretrained(driven / "li-net")
    main([str(driven / "li-net"), "--example", str(ROOT / "examples" / "astronaut.jpg")])
    card = (driven / "li-net" / "README.md").read_text()
    assert "`face_rotator`" in card and "`rec_net`" not in card  # of components


def test_a_borrowed_pipeline_comes_from_the_same_owner(hub, driven, work):
    for name in ("dc-net", "rec-aug-net"):
        files = {
            path.relative_to(driven / name).as_posix(): path.read_bytes()
            for path in (driven / name).rglob("*")
            if path.suffix in (".json", ".safetensors")
        }
        hub.repositories[f"me/{name}"] = {
            "private": False,
            "branches": {"main": "a" * 40},
            "commits": {"a" * 40: files},
        }
    load = "__import__('lirec').DCNetPipeline.from_pretrained('me/dc-net')"
    assert work(f"{load}.reconstruction.config['_name_or_path']") == "me/rec-aug-net"
