"""The builder, with few samples: what it writes loads, and has the shipped model's layout."""

import torch

from lirec.models.morphable_model import MorphableModel
from lirec.models.weights import load_model
from train.build_morphable_model import main, mirror_name, principal_components


def test_builds_a_model_like_the_shipped_one(tmp_path):
    main(["--output", str(tmp_path), "--identities", "82", "--skins", "100", "--texture_size", "32"])
    built = load_model(MorphableModel, tmp_path)
    shipped = load_model(MorphableModel, "hub/rec-aug-net/morphable_model")
    assert built.expression_names == shipped.expression_names
    for name in ("triangles", "region", "landmark_vertices", "expression_mirror", "contour_vertices"):
        assert torch.equal(getattr(built, name), getattr(shipped, name)), name
    assert (built.mean_vertices - shipped.mean_vertices).norm(dim=1).max() < 0.01
    torch.testing.assert_close(built.expression_basis, shipped.expression_basis, atol=2e-3, rtol=0)


def test_mirror_names():
    assert mirror_name("jawLeft") == "jawRight" and mirror_name("eyeBlinkRight") == "eyeBlinkLeft"
    assert mirror_name("jawOpen") == "jawOpen"


def test_components_are_whitened_and_even_or_odd():
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.2])
    samples = torch.randn(400, 6, generator=generator) * spread
    swapped = samples[:, [1, 0, 3, 2, 5, 4]]
    mean, basis, parity = principal_components(samples.numpy(), swapped.numpy(), 3, torch.ones(6).numpy())
    mirrored = basis[:, [1, 0, 3, 2, 5, 4]]
    assert abs(mirrored - parity[:, None] * basis).max() < 1e-9
    both = torch.cat((samples, swapped)).double() - torch.from_numpy(mean)
    weights = both @ torch.linalg.pinv(torch.from_numpy(basis))
    assert (weights.std(0) - 1).abs().max() < 0.15
