"""How long a face takes, as ratios to the backbone alone in the same run. `pytest -s` shows the figures."""

import time
from pathlib import Path

import pytest
import torch

from lirec.models.rec_net import RecNet
from lirec.processing.image import load_image

ASTRONAUT = Path(__file__).resolve().parent.parent.parent / "examples" / "astronaut.jpg"
BOX = [177, 72, 268, 170]
RESNETS = {
    "ResNet-18": {"layer_type": "basic", "depths": (2, 2, 2, 2), "hidden_sizes": (64, 128, 256, 512)},
    "ResNet-50": {},
}


def milliseconds(*functions, repeats=12) -> list[float]:
    """The shortest of several times for each function, measured in turns; the first call is left out."""
    for function in functions:
        function()
    times = [[] for _ in functions]
    for _ in range(repeats):
        for function, durations in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            durations.append(time.perf_counter() - start)
    return [1000 * min(durations) for durations in times]


def compare(rec_net, morphable_model, dtype, name, most=1.6):
    size = rec_net.config.image_size
    crop = torch.rand(1, 3, size, size)

    def backbone():
        return rec_net.backbone(crop)

    def mesh():
        output = rec_net(crop)
        return morphable_model(output.identity, output.expression)

    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        alone, whole = milliseconds(backbone, mesh)
    print(f"\n{name}, {size} px, {dtype}: backbone {alone:.1f} ms, with heads and mesh {whole:.1f} ms, "
          f"{whole / alone:.2f} times")  # fmt: skip
    assert whole < most * alone


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_rec_net_and_mesh_against_backbone(morphable_model, name, dtype):
    rec_net = RecNet(**RESNETS[name]).eval().to(memory_format=torch.channels_last)
    compare(rec_net, morphable_model, dtype, name)


def test_shipped_rec_net_and_mesh_against_backbone(shipped_pipeline):
    rec_net, model = shipped_pipeline.rec_net, shipped_pipeline.morphable_model
    compare(rec_net, model, torch.float32, "the shipped network", most=1.8)  # MeshFeedback beside a small backbone


@torch.inference_mode()
def test_pipeline_against_backbone(shipped_pipeline):
    """A whole call looks twice, the second time at the mirror image too: three passes of RecNet, two of ETNet."""
    image = load_image(ASTRONAUT)
    networks = (shipped_pipeline.rec_net, shipped_pipeline.et_net)
    crops = [torch.rand(1, 3, *2 * (network.config.image_size,)) for network in networks]
    alone, found, given, simple = milliseconds(
        lambda: [network.backbone(crop) for network, crop in zip(networks, crops, strict=True)],
        lambda: shipped_pipeline(image),
        lambda: shipped_pipeline(image, boxes=[BOX]),
        lambda: shipped_pipeline(image, boxes=[BOX], mirror_average=False),
    )
    print(
        f"\nboth backbones {alone:.1f} ms; pipeline {found:.1f} ms ({found / alone:.1f} times), with the box given "
        f"{given:.1f} ms ({given / alone:.1f}), without mirror image {simple:.1f} ms ({simple / alone:.1f})"
    )
    assert given < 8 * alone


def test_face_to_glb(shipped_pipeline, tmp_path):
    """What follows for a file: the texture takes most of it."""
    (face,) = shipped_pipeline(ASTRONAUT, boxes=[BOX]).faces
    crop = torch.rand(1, 3, *2 * (shipped_pipeline.rec_net.config.image_size,))
    with torch.inference_mode():
        whole, clay, alone = milliseconds(
            lambda: face.save(tmp_path / "face.glb"),
            lambda: face.mesh(textured=False),
            lambda: shipped_pipeline.rec_net.backbone(crop),
            repeats=3,
        )
    print(f"\nface to GLB {whole:.0f} ms ({whole / alone:.0f} times the backbone); the mesh alone {clay:.1f} ms")
    assert whole < 400 * alone
