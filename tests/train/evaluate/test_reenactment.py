import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lirec import DCNetPipeline, LirecError
from lirec.models.dc_net import DCNet
from lirec.models.face_embedder import FaceEmbedder
from lirec.models.weights import save_model
from lirec.processing.image import load_image
from tests.conftest import ROOT
from train.data.folder import write_table
from train.evaluate import reenactment
from train.evaluate.reenactment import TABLES, WARP
from train.evaluate.report import Report
from train.evaluate.scores import UNTOUCHED, PictureFeatures, Scores
from train.evaluate.studio import WINDOW, Studio, framed

PHOTO = ROOT / "examples" / "astronaut.jpg"


def copying_network(**options):
    """A DCNet that shows the warped photo and nothing else."""
    torch.manual_seed(0)
    network = DCNet(image_size=32, width=16, **options).eval()
    if network.config.output == "layers":
        torch.nn.init.zeros_(network.to_adjustments.weight)
        torch.nn.init.zeros_(network.to_layers.weight)
        network.to_layers.bias.data[3] = 20
    return network


@pytest.fixture(scope="module")
def pipeline(shipped_pipeline):
    return DCNetPipeline(copying_network(), shipped_pipeline)


@pytest.fixture(scope="module")
def clip(morphable_model):
    (clip,) = reenactment.held_out_clips(morphable_model, count=3, batch=4, size=64)
    return clip


@pytest.fixture(scope="module")
def report(pipeline, clip):
    return reenactment.evaluate(pipeline, [clip])


def test_clips_are_pairs_of_one_person(clip):
    assert len(clip) == 6 and clip.image.shape[2:] == (64, 64)
    assert torch.equal(clip.identity[::2], clip.identity[1::2])
    assert (clip.identity[0] != clip.identity[2]).any() and (clip.angles[0] != clip.angles[1]).any()


def test_a_network_that_copies_is_the_warp_alone(report):
    names = [figure.figure for figure in report.figures]
    assert names[:4] == [f"same identity, {name}" for name in ("L1", "PSNR", "SSIM", "FID")]
    assert not any(name.startswith("real") for name in names)
    for figure in report.figures:
        assert figure.samples == 3
        assert figure.result == pytest.approx(figure.others[WARP], rel=0.1, abs=0.02), figure
    assert "FaceEmbedder" in report.title


def test_the_warp_is_nearer_to_the_driver_than_the_source_is(report):
    efl = report["cross identity, EFL"]
    assert efl.others["driven mesh"] < efl.others[WARP] < 0.5 * efl.baseline
    assert report["cross identity, EFL of coordinates"].result == pytest.approx(efl.result / 2**0.5)
    assert report["cross identity, FID"].baseline == pytest.approx(0, abs=1e-6)
    own, other = report["cross identity, cosine to the source"], report["cross identity, cosine to the driver"]
    assert own.baseline == pytest.approx(1, abs=1e-3) and own.result > other.result
    cosines = report.details["identity cosines"]
    assert cosines["two frames of one person"] > cosines["two people"]


def test_everybody_is_driven_by_another():
    assert reenactment.others(["a", "b", "c"], []) == ["b", "c", "a"]
    assert reenactment.others(["d"], ["a", "b", "c"]) == ["a"]


def test_a_face_driven_by_itself_stays(pipeline, clip):
    studio, scores = Studio(pipeline), Scores()
    faces = studio.look(clip.image[:2], reenactment.landmark_box(clip.landmarks[:2]))
    features = PictureFeatures(pipeline.reconstruction.face_embedder)
    reenactment.same_identity(studio, features, faces, faces, scores)
    assert scores.mean("same identity, L1", UNTOUCHED) == 0
    assert scores.mean("same identity, L1", WARP) < 0.01
    assert scores.mean("same identity, SSIM", WARP) > 0.95
    reenactment.real_pair(studio, faces[0], faces[0], scores)
    figure = f"real pairs, SSIM of the face at {reenactment.REAL_SIZE} px"
    assert scores.mean(figure, UNTOUCHED) == pytest.approx(1, abs=1e-4) and scores.mean(figure, "result") > 0.95
    mask = studio.face_mask(faces[:1])
    assert mask.shape == (1, 1, 64, 64) and 0.05 < mask.float().mean() < 0.7
    x, y = faces[0].landmarks[17:].round().astype(int).clip(0, 63).T
    assert mask[0, 0, y, x].float().mean() > 0.7


def test_networks_that_paint_are_brought_to_the_pictures_size(shipped_pipeline, clip):
    studio = Studio(DCNetPipeline(copying_network(output="rgb", condition="rendered"), shipped_pipeline))
    faces = studio.look(clip.image[:1], reenactment.landmark_box(clip.landmarks[:1]))
    image, warped = studio.drive(faces, faces)
    assert image.shape == warped.shape == (1, 3, 64, 64)


def test_framed_face(pipeline):
    face = pipeline.reconstruction(PHOTO, augmented=False).faces[0]  # whose landmarks are those of the mesh
    window = framed(face, 128)
    assert window.image.shape == (128, 128, 3)
    edge = (window.box[2:] - window.box[:2]).max()
    assert edge == pytest.approx(128 / WINDOW, rel=1e-3)
    points = window.intrinsics @ (window.rotation @ window.vertices.T + window.translation[:, None])
    tip = window.model.landmark_vertices[30]
    assert (points[:2, tip] / points[2, tip]).tolist() == pytest.approx(window.landmarks[30].tolist(), abs=0.1)


# real frames


def write_frames(folder, videos):
    """Grey pictures with a face box of a size: name -> (edge px, grey)."""
    landmarks = {}
    for name, (edge, grey) in videos.items():
        Image.new("RGB", (200, 200), (grey,) * 3).save(folder / name)
        points = np.full((68, 2), 100.0, np.float32)
        points[0], points[1] = 100 - edge / 2, 100 + edge / 2
        landmarks[name] = points
    write_table(folder / "landmarks68.csv", landmarks)


def test_real_pairs_are_the_first_and_last_frame_of_a_video(tmp_path):
    write_frames(
        tmp_path,
        {
            "001_00.png": (90, 100), "001_01.png": (90, 50), "001_02.png": (90, 110),
            "001_10.png": (90, 100), "001_11.png": (90, 130),  # fades
            "002_00.png": (90, 100), "002_01.png": (50, 100),  # goes away
            "003_00.png": (90, 100),
            "004_20.png": (80, 200), "004_21.png": (80, 200),
        },
    )  # fmt: skip
    pairs = reenactment.real_pairs(tmp_path, 60)
    assert [[int(photo.image[0, 0, 0]) for photo in pair] for pair in pairs] == [[100, 110], [200, 200]]
    assert len(reenactment.real_pairs(tmp_path, 1)) == 1
    for name in ("001_00.png", "001_02.png", "004_20.png"):
        (tmp_path / name).unlink()
    with pytest.raises(LirecError, match="no two frames"):
        reenactment.real_pairs(tmp_path, 60)


# whole drives


def turned(photo, degrees):
    return np.array(Image.fromarray(photo).rotate(degrees, Image.Resampling.BICUBIC))


def test_real_drives_follow(pipeline):
    photo = load_image(PHOTO)[:400, 100:400]
    report = Report("", "", "")
    frames = [turned(photo, degrees) for degrees in (0, 3, 6, 9, 12)]
    source = Studio(pipeline).find(photo)
    reenactment.add_real_drives(report, pipeline, [source], [frames], count=2)  # one is at rest, one turned by 12
    turn = report["real drives, rotation error"]
    assert turn.samples == 2 and turn.result < turn.baseline == pytest.approx(6, abs=2)
    assert report["real drives, cosine to the source"].result > 0.7
    assert report["real drives, frames without a face"].result == 0
    assert report["real drives, gaze correlation"].samples <= 2


def test_drivers_without_a_face_are_refused(pipeline):
    photo = load_image(PHOTO)
    source = Studio(pipeline).find(photo)
    with pytest.raises(LirecError, match="without a face"):
        reenactment.add_real_drives(Report("", "", ""), pipeline, [source], [[np.zeros_like(photo)] * 2], 2)


def test_jitter_of_a_still_driver(pipeline):
    photo = load_image(PHOTO)[:400, 100:400]
    report = Report("", "", "")
    reenactment.add_jitter(report, pipeline, "jitter", [(photo, photo)], frames=4)
    smooth, rough = report["jitter"], report["jitter, not smoothed"]
    assert 0 < smooth.result < rough.result < 3 and smooth.baseline > 0


def test_still_frames_tremble_alike():
    picture = np.full((32, 32, 3), 120, np.uint8)
    frames = reenactment.still_frames(picture, 3)
    assert len(frames) == 3 and (frames[0] != frames[1]).any()
    assert all(abs(frame.mean() - 120) < 2 and 0.5 < frame.std() < 8 for frame in frames)
    assert all(np.array_equal(*pair) for pair in zip(frames, reenactment.still_frames(picture, 3), strict=True))


def test_signals_by_their_names(morphable_model):
    names = morphable_model.expression_names

    def face(**weights):
        expression = np.array([weights.get(name, 0.0) for name in names], np.float32)
        vertices = morphable_model(torch.zeros(1, 80), torch.from_numpy(expression)[None])[0].numpy()
        return SimpleNamespace(expression=expression, expression_names=names, vertices=vertices, model=morphable_model)

    found = reenactment.signals([
        face(), face(jawOpen=0.8), face(eyeBlinkLeft=1, eyeBlinkRight=0.5),
        face(eyeLookOutLeft=0.6, eyeLookInRight=0.6, eyeLookDownLeft=0.4, eyeLookDownRight=0.2),
    ])  # fmt: skip
    assert found["lip gap"][1] - found["lip gap"][0] > 0.01
    assert reenactment.signals([face(mouthClose=0.5)])["lip gap"].item() == 0  # one lip lies over the other
    assert found["blink"][:, 0].tolist() == pytest.approx([0, 0, 0.75, 0])
    assert found["gaze"][3].tolist() == pytest.approx([0.6, -0.3]) and not found["gaze"][:3].any()


def test_only_what_the_driver_does_is_followed():
    ramp, still = torch.linspace(0, 1, 10)[:, None], torch.full((10, 1), 0.3)
    wanted = {"lip gap": 0.01 * ramp, "gaze": torch.cat((ramp, still), 1), "blink": still}
    found = {"lip gap": 0.02 - 0.01 * ramp, "gaze": torch.cat((ramp, ramp), 1), "blink": ramp}
    values = reenactment.followed(found, wanted)
    assert values["lip gap"].tolist() == pytest.approx([-1])
    assert values["gaze"].tolist() == pytest.approx([1]) and len(values["blink"]) == 0


# features, tables, commands


def test_features_of_every_stage():
    features = PictureFeatures(FaceEmbedder(image_size=32, hidden_sizes=(8, 8, 16, 16), embedding_size=8).eval())
    with torch.no_grad():
        values = features(torch.rand(2, 3, 48, 48))
    assert features.name == "FaceEmbedder" and values.shape == (2, 48)


def test_paper_tables_with_ours_beside(report):
    text = TABLES[1].text(reenactment.paper_rows({"net": report}))
    lines = {line[:25].strip(): line.split() for line in text.splitlines()[2:]}
    assert lines["JR2Net"][1:] == ["0.0418", "23.01", "0.7798", "19.25"]
    assert float(lines["lirec, net"][-2]) == pytest.approx(report["same identity, SSIM"].result, rel=1e-3)
    assert float(lines[f"lirec, {UNTOUCHED}"][-2]) == pytest.approx(report["same identity, SSIM"].baseline, rel=1e-3)
    assert TABLES[0].text({"none": {}}).splitlines()[-1].split() == ["lirec,", "none", "-", "-"]


def test_networks_side_by_side(report):
    both = reenactment.compare({"a": report, "b": report}, {"a": "full", "b": "rendered"})
    assert both["same identity, L1: a"].others["paper"] == 0.042
    assert both["same identity, L1: b"].others["paper"] == 0.044
    assert both["same identity, PSNR: b"].result == report["same identity, PSNR"].result
    assert math.isnan(both["cross identity, EFL: a"].others["paper"])
    assert len(both.figures) == 2 * len(report.figures)


def test_weights_of_a_pipeline_or_of_a_training(tmp_path, shipped_pipeline):
    save_model(copying_network(), tmp_path / "trained" / "dc_net")
    DCNetPipeline(copying_network(), shipped_pipeline).save_pretrained(tmp_path / "published")
    for folder in ("trained", "trained/dc_net", "published"):
        pipeline = reenactment.load(str(tmp_path / folder), shipped_pipeline)
        assert pipeline.dc_net.config.image_size == 32 and pipeline.reconstruction is shipped_pipeline
    with pytest.raises(LirecError):
        reenactment.load(str(tmp_path), shipped_pipeline)


def test_wrong_options_give_a_sentence(tmp_path):
    with pytest.raises(LirecError, match="--count"):
        reenactment.main(["--count", "1"])
    with pytest.raises(LirecError, match="--portraits"):
        reenactment.main(["--videos", str(tmp_path)])
    with pytest.raises(LirecError):
        reenactment.main(["--weights", str(tmp_path / "missing")])


def test_folders_without_videos_or_faces_give_a_sentence(pipeline, tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(LirecError, match="no video in"):
            reenactment.videos_in(folder)
    (tmp_path / "CLIP.MP4").touch()
    assert reenactment.videos_in(tmp_path) == [tmp_path / "CLIP.MP4"]
    Image.new("RGB", (80, 60)).save(tmp_path / "empty.png")
    options = SimpleNamespace(videos=tmp_path, portraits=tmp_path, frames=2)
    with pytest.raises(LirecError, match="shows a face"):
        reenactment.add_real(Report("", "", ""), pipeline, options)
