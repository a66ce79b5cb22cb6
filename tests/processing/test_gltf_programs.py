"""What other programs say of the GLB files: Khronos' validator, and three.js in headless Chromium."""

import base64
import io
import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from lirec.processing.mesh_export import MeshAnimation, MeshData, export_mesh
from tests.processing.test_mesh_export import cube, nodding

HERE = Path(__file__).resolve().parents[1] / "gltf"
MODULES = HERE / "node_modules"
needs_npm = pytest.mark.skipif(
    not MODULES.is_dir() or shutil.which("node") is None,
    reason="Node.js and what tests/gltf/package.json names are needed: npm ci --prefix tests/gltf",
)
TYPES = {".html": "text/html", ".js": "text/javascript", ".glb": "model/gltf-binary"}


@pytest.fixture(scope="module")
def animation():
    """One second: the jaw opens and closes, the left eye closes, the head turns by 0.5 radians and moves."""
    times = np.arange(31) / 30
    weights = np.zeros((31, 51))
    weights[:, 17] = np.sin(np.pi * times)
    weights[:, 0] = times
    turns = Rotation.from_euler("y", 0.5 * times[:, None]).as_matrix()
    return MeshAnimation(times, weights, turns, np.linspace((0, 0, 0), (0.02, 0, 0), 31))


@pytest.fixture(scope="module")
def head(morphable_model, animation, tmp_path_factory):
    """The mean face, textured and animated."""
    model = morphable_model
    albedo = model.albedo(torch.zeros(1, 64))[0]
    mesh = MeshData(
        vertices=model.mean_vertices.numpy(),
        triangles=model.triangles.numpy(),
        uv=model.uv.numpy(),
        triangles_uv=model.triangles_uv.numpy(),
        texture=(albedo.permute(1, 2, 0).sqrt() * 255).byte().numpy(),
        morph_targets=model.expression_basis.numpy(),
        morph_names=model.expression_names,
        animation=animation,
    )
    return export_mesh(tmp_path_factory.mktemp("head") / "head.glb", mesh)


@needs_npm
def test_the_validator_finds_nothing(head, tmp_path):
    plain = {"textured": False, "colours": np.full((8, 3), 0.5)}
    paths = [
        head,
        export_mesh(tmp_path / "plain.glb", cube(**plain), unlit=True),
        export_mesh(tmp_path / "png.glb", cube(animation=nodding()), "png"),
        export_mesh(tmp_path / "one.glb", cube(animation=MeshAnimation([0.0], np.zeros((1, 3))))),
    ]
    printed = subprocess.run(["node", HERE / "validate.js", *paths], check=True, capture_output=True, text=True).stdout
    reports = json.loads(printed)
    for report in reports:
        assert not [m for m in report["issues"]["messages"] if m["severity"] < 2], report["issues"]["messages"]
    info = reports[0]["info"]
    assert info["animationCount"] == 1 and info["hasMorphTargets"] and info["hasTextures"]


@needs_npm
def test_three_js_plays_it(browser, head, morphable_model, animation):
    page = browser.new_page()
    problems = []
    page.on("console", lambda entry: problems.append(entry.text) if entry.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))

    def serve(route):
        path = route.request.url.removeprefix("http://files")
        file = {"/": HERE / "viewer.html", "/face.glb": head}.get(path, MODULES / path[1:])
        if file.is_file():
            route.fulfill(body=file.read_bytes(), content_type=TYPES[file.suffix])
        else:
            route.fulfill(status=404)

    page.route("http://files/**", serve)
    page.goto("http://files/")
    page.wait_for_function("window.show", timeout=60_000)
    first, half, last = (page.evaluate(f"show({time})") for time in (0, 0.5, 1.0))
    page.close()
    assert problems == []
    assert list(first["names"]) == list(morphable_model.expression_names) and first["textured"]
    assert first["durations"] == [1.0]
    np.testing.assert_allclose(first["weights"], animation.weights[0], atol=1e-4)
    np.testing.assert_allclose(half["weights"], animation.weights[15], atol=1e-4)
    np.testing.assert_allclose(last["weights"], animation.weights[30], atol=1e-4)
    turn = Rotation.from_quat(last["quaternion"]).as_rotvec()
    np.testing.assert_allclose(turn, (0, 0.5, 0), atol=1e-4)
    np.testing.assert_allclose(half["position"], (0.01, 0, 0), atol=1e-5)
    pictures = [pixels(state["picture"]) for state in (first, half, last)]
    assert pictures[0].std() > 20  # a head
    for before, after in itertools.pairwise(pictures):
        assert np.abs(after - before).mean() > 2  # that moves


def pixels(address):
    data = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)
