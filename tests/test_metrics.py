import math

import pytest
import torch

from lirec import metrics
from lirec.geometry import euler_to_matrix


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def square_face():
    """Landmarks whose box is 40 x 90 and whose eyes are 20 apart."""
    points = torch.full((1, 68, 2), 20.0)
    points[0, 0], points[0, 16] = torch.tensor([0.0, 0.0]), torch.tensor([40.0, 90.0])
    points[0, 36], points[0, 45] = torch.tensor([10.0, 30.0]), torch.tensor([30.0, 30.0])
    return points


def test_landmark_error():
    target = square_face()
    moved = target + torch.tensor([3.0, 4.0])
    assert metrics.landmark_error(moved, target).item() == pytest.approx(5 / 60)
    assert metrics.landmark_error(moved, target, "inter-ocular").item() == pytest.approx(5 / 20)
    jaw = target.clone()
    jaw[:, :17] += 10
    assert metrics.landmark_error(jaw, target, points="inner").item() == 0
    assert metrics.landmark_error(jaw, target).item() == pytest.approx(17 / 68 * 200**0.5 / 60)
    with pytest.raises(ValueError, match="normaliser"):
        metrics.landmark_error(moved, target, "pupils")
    with pytest.raises(ValueError, match="points"):
        metrics.landmark_error(moved, target, points="outer")


def test_landmark_distances_and_jitter():
    target = random(2, 68, 2)
    moved = target.clone()
    moved[0, :34] += torch.tensor([3.0, 4.0])
    assert metrics.landmark_rmse(moved, target).tolist() == pytest.approx([5 / 2**0.5, 0])
    assert metrics.keypoint_distance(moved, target).tolist() == pytest.approx([2.5, 0])
    still = square_face().repeat(4, 1, 1)
    assert metrics.jitter(still) == 0
    still[:, :, 0] += torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    assert metrics.jitter(still) == pytest.approx(0.5)  # 1 px across, none down


def test_failure_rate_counts_missing_faces():
    assert metrics.failure_rate(torch.tensor([0.02, 0.05, 0.2, float("nan")])) == 0.5


def test_box_overlap():
    first = torch.tensor([[0.0, 0, 10, 10]] * 3)
    second = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])
    assert metrics.box_overlap(first, second).tolist() == pytest.approx([1, 1 / 3, 0])
    assert metrics.landmark_box(square_face())[0].tolist() == [0, 0, 40, 90]


def test_shape_error_after_alignment():
    target = (random(2, 50, 3) - 0.5) * 0.2
    turn = euler_to_matrix(torch.tensor([[0.1, 0.4, -0.2]])) * torch.tensor([[1.0], [-1.0], [-1.0]])
    moved = target @ turn.transpose(1, 2) + 0.3
    assert metrics.shape_error(moved, target, align="rigid").max() < 1e-2
    assert metrics.shape_error(1.1 * moved, target).max() < 1e-2
    assert metrics.shape_error(1.1 * moved, target, align="rigid").min() > 1
    assert metrics.shape_error(target + torch.tensor([0.003, 0.004, 0.0]), target, align="none").tolist() == (
        pytest.approx([5, 5], rel=1e-4)
    )
    region = torch.zeros(50, dtype=torch.bool)
    region[:30] = True
    moved[:, 30:] += 1
    assert metrics.shape_error(moved, target, region).max() < 1e-2
    with pytest.raises(ValueError, match="align"):
        metrics.shape_error(moved, target, align="icp")


def test_rotation_error_in_degrees():
    first = euler_to_matrix(torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.1, 0.0]]))
    second = euler_to_matrix(torch.tensor([[0.0, torch.pi / 6, 0.0], [0.2, 0.1, 0.0]]))
    assert metrics.rotation_error(first, second).tolist() == pytest.approx([30, 0], abs=0.05)


def test_coefficient_scores_next_to_the_mean():
    target = random(200, 3)
    predicted = torch.stack((2 * target[:, 0] + 1, torch.full((200,), 0.5), 1 - target[:, 2]), 1)
    scores = metrics.coefficient_scores(predicted, target)
    assert scores.correlation.tolist() == pytest.approx([1, 0, -1], abs=1e-5)
    assert scores.error[1].item() == pytest.approx(scores.baseline[1].item(), abs=0.02)
    assert scores.error[0] > scores.baseline[0]
    given = metrics.coefficient_scores(predicted, target, torch.zeros(3))
    assert given.baseline.tolist() == pytest.approx(target.mean(0).tolist(), rel=1e-4)


def test_correlation():
    target = random(100, 2)
    predicted = torch.stack((3 - target[:, 0], torch.ones(100)), 1)
    assert metrics.correlation(predicted, target).tolist() == pytest.approx([-1, 0])
    assert abs(metrics.correlation(random(1000, 1, seed=1), random(1000, 1, seed=2)).item()) < 0.1


def test_error_ratio():
    assert metrics.error_ratio(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])) == pytest.approx(0.5)


def test_image_metrics():
    image = random(2, 3, 32, 32) * 0.8
    other = image + 0.1
    assert metrics.psnr(other, image).tolist() == pytest.approx([20, 20], rel=1e-3)
    assert metrics.ssim(image, image).tolist() == pytest.approx([1, 1], abs=1e-4)
    assert metrics.ssim(random(2, 3, 32, 32, seed=1), image).max() < 0.5
    assert metrics.ssim(image[:1], image[:1]).shape == (1,)
    mask = torch.zeros(2, 1, 32, 32)
    mask[0, :, :4] = 1
    error = metrics.masked_error(other, image, mask)
    assert error[0].item() == pytest.approx(0.1, rel=1e-3) and error[1].isnan()


def test_ssim_in_a_mask():
    image = random(2, 3, 64, 64)
    other = image.clone()
    other[:, :, :, 32:] = random(2, 3, 64, 32, seed=1)
    left = torch.zeros(2, 1, 64, 64)
    left[..., :26] = 1  # no window reaches the half that differs
    right = 1 - left
    assert metrics.ssim(other, image, left).tolist() == pytest.approx([1, 1], abs=1e-4)
    whole = metrics.ssim(other, image)
    assert torch.allclose(metrics.ssim(other, image, torch.ones_like(left)), whole, atol=1e-5)
    share = left.mean()
    assert torch.allclose(share + (1 - share) * metrics.ssim(other, image, right), whole, atol=1e-4)
    assert metrics.ssim(other, image, 0 * left).isnan().all()


def test_frechet_distance():
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(4000, 8, generator=generator)
    other = torch.randn(4000, 8, generator=generator)
    assert metrics.frechet_distance(target, target) == pytest.approx(0, abs=1e-8)
    assert metrics.frechet_distance(other, target) < 0.03
    # moved by 3 along one axis, and half as wide along all: 9 + 8 * (1 - 1/2)²
    other = other / 2
    other[:, 0] += 3
    assert metrics.frechet_distance(other, target) == pytest.approx(11, rel=0.05)
    few = metrics.frechet_distance(target[:5], target[5:12])  # fewer samples than features
    assert 0 < few < 20
    assert math.isnan(metrics.frechet_distance(target[:1], target))


def test_frechet_distance_is_that_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Colours(torch.nn.Module):
        num_features = 3

        def forward(self, images):
            return images.mean((2, 3))

    first, second = random(50, 3, 8, 8), 0.5 * random(50, 3, 8, 8, seed=1)
    network = Colours()
    reference = FrechetInceptionDistance(network, normalize=True)
    reference.update(first, real=False)
    reference.update(second, real=True)
    ours = metrics.frechet_distance(network(first), network(second))
    assert ours == pytest.approx(reference.compute().item(), rel=1e-4)
