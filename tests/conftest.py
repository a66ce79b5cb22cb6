"""Settings and fixtures for every test: no test reaches the network."""

import os
from pathlib import Path

import pytest

# Read when huggingface_hub is first imported; a test with a Hub of its own on loopback starts a process.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

ROOT = Path(__file__).resolve().parent.parent
# Weights to test instead of those that are shipped.
SHIPPED = os.environ.get("LIREC_WEIGHTS") or ROOT / "hub" / "rec-aug-net"


@pytest.fixture(scope="session")
def morphable_model():
    """The face model that is shipped; tests leave it as it is."""
    from lirec.models.morphable_model import MorphableModel
    from lirec.models.weights import load_model

    return load_model(MorphableModel, ROOT / "hub" / "rec-aug-net" / "morphable_model")


@pytest.fixture(scope="session")
def untrained_pipeline(morphable_model):
    """A reconstruction pipeline with a tiny RecNet of random weights, for what does not depend on training."""
    import torch

    from lirec import RecAugNetPipeline
    from lirec.models.rec_net import RecNet

    torch.manual_seed(0)
    rec_net = RecNet(48, layer_type="basic", depths=(1, 1), hidden_sizes=(16, 32), embedding_size=8)
    torch.nn.init.normal_(rec_net.head.weight, std=0.02)  # enough that every face differs
    return RecAugNetPipeline(rec_net.eval(), morphable_model)


@pytest.fixture(scope="session")
def shipped_pipeline():
    """The reconstruction pipeline with the weights that are shipped, or those that LIREC_WEIGHTS names."""
    from lirec import RecAugNetPipeline

    return RecAugNetPipeline.from_pretrained(SHIPPED)


@pytest.fixture(scope="session")
def landmark_lifter():
    """What tells heads by landmarks, with the weights that are shipped."""
    from lirec.models.landmark_lifter import LandmarkLifter
    from lirec.models.weights import load_model

    return load_model(LandmarkLifter, ROOT / "hub" / "li-net" / "landmark_lifter")


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, whose WebGL needs no GPU."""
    from tests.browsing import CHROMIUM

    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()
