import pytest
import torch

from lirec.models.face_detector import KEYPOINTS, FaceDetector


def tiny(**options):
    torch.manual_seed(0)
    model = FaceDetector(channels=16, stem_channels=8, **options)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after some training
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(model.predict.weight, std=0.1)
    return model.eval()


def test_shapes_and_finite_values():
    model = tiny()
    output = model(torch.rand(2, 3, 64, 96))
    assert output.heat.shape == (2, 8, 12)
    assert output.boxes.shape == (2, 4, 8, 12)
    assert output.keypoints.shape == (2, len(KEYPOINTS), 2, 8, 12)
    assert all(torch.isfinite(value).all() for value in output.values())
    assert (output.boxes[:, :2] < output.boxes[:, 2:]).all()


def test_each_cell_speaks_of_its_own_place():
    model = tiny()
    torch.nn.init.zeros_(model.predict.weight)
    output = model(torch.rand(1, 3, 64, 96))
    middle = (output.boxes[:, :2] + output.boxes[:, 2:]) / 2
    assert middle[0, :, 0, 0].tolist() == pytest.approx([4, 4])
    assert middle[0, :, 2, 5].tolist() == pytest.approx([44, 20])
    assert output.keypoints[0, 3, :, 2, 5].tolist() == pytest.approx([44, 20])


def test_find_gives_peaks_best_first_and_none_below_the_threshold():
    model = tiny()
    images = torch.rand(2, 3, 96, 128)
    output = model(images)
    found = model.find(images, threshold=0.0, limit=5)
    assert len(found) == 2
    for index, faces in enumerate(found):
        scores = output.heat[index].sigmoid()
        assert len(faces.scores) == 5 and faces.boxes.shape == (5, 4) and faces.keypoints.shape == (5, 5, 2)
        assert faces.scores[0] == scores.max()
        assert (faces.scores.diff() <= 0).all()
        row, column = divmod(int(scores.argmax()), scores.shape[1])
        assert torch.equal(faces.boxes[0], output.boxes[index, :, row, column])
        assert torch.equal(faces.keypoints[0], output.keypoints[index, :, :, row, column])
    assert len(model.find(images, threshold=1.1)[0].scores) == 0
    assert len(tiny(threshold=1.1).find(images)[0].boxes) == 0


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiples of 32"):
        tiny()(torch.rand(1, 3, 64, 100))
    with pytest.raises(ValueError, match="multiples of 32"):
        tiny()(torch.rand(1, 1, 64, 64))


def test_stored_and_loaded_it_says_the_same(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    loaded = FaceDetector.from_pretrained(tmp_path, use_safetensors=True).eval()
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded(images).heat, model(images).heat)
    assert loaded.config.channels == 16


def test_bfloat16_is_close():
    model = tiny()
    images = torch.rand(1, 3, 64, 64)
    expected = model(images)
    output = model.to(torch.bfloat16)(images.to(torch.bfloat16))
    assert output.boxes.dtype == output.heat.dtype == torch.float32
    torch.testing.assert_close(output.heat, expected.heat, atol=0.15, rtol=0.05)
    assert (model.find(images, threshold=0.0)[0].boxes > -1000).all()


def test_the_default_is_small_and_every_weight_learns():
    model = FaceDetector()
    assert sum(parameter.numel() for parameter in model.parameters()) <= 500_000
    output = model(torch.rand(2, 3, 64, 64))
    (output.heat.square().mean() + output.boxes.mean() + output.keypoints.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
