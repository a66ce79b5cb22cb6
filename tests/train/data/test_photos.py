"""Each set of photos is read from a small copy of its own layout, made here."""

import struct

import av
import numpy as np
import pytest
import scipy.io
from PIL import Image

from lirec import LirecError
from train.data import DATASETS, open_dataset
from train.data.celeba import box_of_five_points
from train.data.folder import write_table
from train.data.ls3d import read_torch7

POINTS = np.random.default_rng(0).uniform(10, 50, (68, 2)).astype(np.float32)


def picture(path, colour=(200, 100, 50), size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def mat(path, **variables):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables)


# --- any folder --------------------------------------------------------------------------------------------


def test_folder_with_and_without_landmarks(tmp_path):
    for name in ("012_3.jpg", "012_4.png", "holiday.jpg", "anna/1.jpg", "anna/012_1.jpg"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    write_table(
        tmp_path / "landmarks68.csv", {"012_3.jpg": POINTS, "anna/1.jpg": POINTS + 5, "gone.jpg": POINTS}
    )

    faces = open_dataset("folder", tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in faces.files] == (
        ["012_3.jpg", "012_4.png", "anna/012_1.jpg", "anna/1.jpg", "holiday.jpg"]
    )
    photo = faces[0]
    assert photo.image.shape == (48, 64, 3) and photo.image.dtype == np.uint8
    assert np.abs(photo.landmarks - POINTS).max() < 0.01 and photo.landmarks.dtype == np.float32
    assert np.allclose(photo.box, [*POINTS.min(0), *POINTS.max(0)], atol=0.01)
    assert [photo.identity for photo in faces] == ["012", None, "anna", "anna", None]
    assert [photo.landmarks is not None for photo in faces] == [True, False, False, True, False]
    assert faces[1].box is None
    assert faces.labelled == [0, 3]


@pytest.mark.parametrize("table", ["", "file,x,y\na.jpg,1,2\n"])
def test_folder_with_another_table(tmp_path, table):
    picture(tmp_path / "a.jpg")
    (tmp_path / "landmarks68.csv").write_text(table)
    with pytest.raises(LirecError, match="first line"):
        open_dataset("folder", tmp_path)


def test_folder_with_a_broken_row(tmp_path):
    picture(tmp_path / "a.jpg")
    write_table(tmp_path / "landmarks68.csv", {"a.jpg": POINTS})
    with open(tmp_path / "landmarks68.csv", "a") as stream:
        stream.write("b.jpg,1,2,three\n")
    with pytest.raises(LirecError, match="Line 3"):
        open_dataset("folder", tmp_path)


# --- 300W-LP -----------------------------------------------------------------------------------------------


def test_300w_lp_takes_the_turned_contour(tmp_path):
    for name in ("AFW_1_1_0", "AFW_1_1_7"):
        picture(tmp_path / "AFW" / f"{name}.jpg")
        mat(tmp_path / "AFW" / f"{name}.mat", pt2d=np.zeros((2, 68)), Pose_Para=np.zeros((1, 7)))
        mat(tmp_path / "landmarks" / "AFW" / f"{name}_pts.mat", pts_2d=POINTS, pts_3d=POINTS + 9)
    picture(tmp_path / "AFW_Flip" / "AFW_1_1_0.jpg")
    mat(tmp_path / "AFW_Flip" / "AFW_1_1_0.mat", pt2d=np.zeros((2, 68)))
    picture(tmp_path / "LFPW" / "no_points.jpg")

    faces = open_dataset("300w-lp", tmp_path)
    assert [file.name for file in faces.files] == ["AFW_1_1_0.jpg", "AFW_1_1_7.jpg"]
    assert np.allclose(faces[1].landmarks, POINTS - 0.5)  # MATLAB counts from 1
    assert faces[0].identity == faces[1].identity == "AFW_1_1"


def test_aflw2000_is_read_too(tmp_path):
    picture(tmp_path / "image00002.jpg")
    mat(tmp_path / "image00002.mat", pt2d=-np.ones((2, 21)), pt3d_68=np.vstack((POINTS.T, np.zeros((1, 68)))))
    faces = open_dataset("300w-lp", tmp_path)
    assert np.allclose(faces[0].landmarks, POINTS - 0.5)
    assert faces[0].identity == "image00002"


def test_300w_lp_says_what_is_broken(tmp_path):
    picture(tmp_path / "AFW" / "a_0.jpg")
    mat(tmp_path / "AFW" / "a_0.mat", pt2d=POINTS.T)
    with pytest.raises(LirecError, match="landmarks"):
        open_dataset("300w-lp", tmp_path)[0]
    (tmp_path / "landmarks" / "AFW").mkdir(parents=True)
    (tmp_path / "landmarks" / "AFW" / "a_0_pts.mat").write_bytes(b"not a mat file" * 20)
    with pytest.raises(LirecError, match=r"a_0_pts\.mat"):
        open_dataset("300w-lp", tmp_path)[0]
    mat(tmp_path / "landmarks" / "AFW" / "a_0_pts.mat", pts_2d=POINTS[:5])
    with pytest.raises(LirecError, match="68 landmarks"):
        open_dataset("300w-lp", tmp_path)[0]


# --- CelebA ------------------------------------------------------------------------------------------------

FIVE = "69 111 108 111 88 137 73 152 105 152"


def celeba_texts(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    header = " ".join(
        f"{point}_{axis}" for point in ("lefteye", "righteye", "nose", "leftmouth") for axis in "xy"
    )
    (folder / name).write_text(f"2\n{header}\n000001.jpg  {FIVE}\n000002.jpg  {FIVE}\n")
    (folder / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 2937\n")


@pytest.mark.parametrize("texts", ["", "Anno"])
def test_celeba_aligned(tmp_path, texts):
    for name in ("000001.jpg", "000002.jpg"):
        picture(tmp_path / "img_align_celeba" / name, size=(178, 218))
    celeba_texts(tmp_path / texts, "list_landmarks_align_celeba.txt")
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 2\n")

    faces = open_dataset("celeba", tmp_path)
    assert len(faces) == 2 and faces[0].landmarks is None
    assert [photo.identity for photo in faces] == ["2880", "2937"]
    x1, y1, x2, y2 = faces[0].box
    assert x1 < 60 and x2 > 115 and y1 < 105 and 165 < y2 < 218
    assert [file.name for file in open_dataset("celeba", tmp_path, split="test").files] == ["000002.jpg"]
    with pytest.raises(LirecError, match="splits"):
        open_dataset("celeba", tmp_path, split="dev")


def test_celeba_in_the_wild(tmp_path):
    picture(tmp_path / "img_celeba" / "000001.jpg")
    (tmp_path / "list_bbox_celeba.txt").write_text(
        "1\nimage_id x_1 y_1 width height\n000001.jpg 10 5 30 40\n"
    )
    photo = open_dataset("celeba", tmp_path)[0]
    assert photo.box.tolist() == [10, 5, 40, 45] and photo.identity is None
    celeba_texts(tmp_path / "Anno", "list_landmarks_celeba.txt")
    photo = open_dataset("celeba", tmp_path)[0]
    assert photo.box[3] > 100 and photo.identity == "2880"


def test_celeba_without_its_texts(tmp_path):
    picture(tmp_path / "img_align_celeba" / "000001.jpg")
    with pytest.raises(LirecError, match="text file"):
        open_dataset("celeba", tmp_path)
    celeba_texts(tmp_path, "list_landmarks_align_celeba.txt")
    with pytest.raises(LirecError, match="list_eval_partition"):
        open_dataset("celeba", tmp_path, split="train")


def test_box_of_five_points_follows_the_turn():
    frontal = box_of_five_points(np.array([[-30, 0], [30, 0], [0, 35], [-22, 70], [22, 70]], np.float32))
    left = box_of_five_points(np.array([[-30, 0], [10, 0], [-35, 35], [-30, 70], [0, 70]], np.float32))
    assert frontal[0] == pytest.approx(-frontal[2])
    assert left[0] + left[2] > 0  # the nose points left, the cheek is on the right


# --- LS3D-W ------------------------------------------------------------------------------------------------


def torch7(path, points, kind=b"Float"):
    """Write a tensor as Torch7 did."""

    def text(value):
        return struct.pack(f"<i{len(value)}s", len(value), value)

    dtype = {b"Float": "<f4", b"Double": "<f8"}[kind]
    rows, columns = points.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        struct.pack("<ii", 4, 1) + text(b"V 1") + text(b"torch." + kind + b"Tensor")
        + struct.pack("<i5q", 2, rows, columns, columns, 1, 1)
        + struct.pack("<ii", 4, 2) + text(b"V 1") + text(b"torch." + kind + b"Storage")
        + struct.pack("<q", points.size) + points.astype(dtype).tobytes()
    )  # fmt: skip


def test_ls3d_in_every_landmark_format(tmp_path):
    for name in ("300VW-3D/CatA/114/0001.jpg", "Menpo-3D/a.jpg", "Menpo-3D/b.jpg", "Menpo-3D/none.jpg"):
        picture(tmp_path / name)
    picture(tmp_path / "300W-Testset-3D" / "indoor_001.png")
    picture(tmp_path / "AFLW2000-3D-Reannotated" / "image00002.jpg")
    torch7(tmp_path / "300VW-3D/CatA/114/0001.t7", POINTS)
    torch7(tmp_path / "300W-Testset-3D/indoor_001.t7", POINTS, b"Double")
    np.save(tmp_path / "Menpo-3D/a.npy", POINTS)
    rows = "\n".join(f"{x + 0.5:.4f} {y + 0.5:.4f}" for x, y in POINTS)
    (tmp_path / "Menpo-3D/b.pts").write_text(f"version: 1\nn_points:  68\n{{\n{rows}\n}}\n")
    mat(tmp_path / "AFLW2000-3D-Reannotated/image00002.mat", points=POINTS + 0.5)

    faces = open_dataset("ls3d", tmp_path)
    assert len(faces) == 5
    for photo in faces:
        assert np.allclose(photo.landmarks, POINTS, atol=1e-3)
    assert [photo.identity for photo in faces].count(None) == 4
    assert faces[0].identity == "300VW-3D/CatA/114"


@pytest.mark.parametrize("name", ["a.t7", "a.npy", "a.pts", "a.mat"])
def test_ls3d_with_a_broken_file(tmp_path, name):
    picture(tmp_path / "a.jpg")
    (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(LirecError, match=name):
        open_dataset("ls3d", tmp_path)[0]


def test_torch7_refuses_what_is_no_tensor(tmp_path):
    torch7(tmp_path / "a.t7", POINTS)
    data = (tmp_path / "a.t7").read_bytes()
    (tmp_path / "b.t7").write_bytes(data.replace(b"FloatTensor", b"FloatObject"))
    with pytest.raises(ValueError, match="tensor"):
        read_torch7(tmp_path / "b.t7")
    (tmp_path / "c.t7").write_bytes(data[:-40])
    with pytest.raises(ValueError, match="buffer"):
        read_torch7(tmp_path / "c.t7")


# --- VoxCeleb2 ---------------------------------------------------------------------------------------------


def video(path, frames=12, size=32):
    """A clip whose frames grow brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            image = np.full((size, size, 3), 20 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_voxceleb2_clips(tmp_path):
    video(tmp_path / "dev/mp4/id00012/aaa/00001.mp4")
    video(tmp_path / "dev/mp4/id00015/bbb/00001.mp4")
    video(tmp_path / "test/mp4/id00017/ccc/00002.mp4")
    (tmp_path / "dev/aac/id00012").mkdir(parents=True)

    assert [photo.identity for photo in open_dataset("voxceleb2", tmp_path)] == [
        "id00012",
        "id00015",
        "id00017",
    ]
    assert [photo.identity for photo in open_dataset("voxceleb2", tmp_path, split="test")] == ["id00017"]
    faces = open_dataset("voxceleb2", tmp_path / "dev", frames_per_clip=3)
    assert len(faces) == 6 and len(faces.clips) == 2
    brightness = [faces[i].image.mean() for i in range(3)]
    assert np.allclose(brightness, [40, 120, 200], atol=25)
    assert faces[0].image.shape == (32, 32, 3) and faces[0].landmarks is None and faces[0].box is None
    assert faces[3].identity == "id00015"


def test_voxceleb2_extracted_frames(tmp_path):
    for i in range(4):
        picture(tmp_path / "id00012/aaa/00001" / f"{i:04d}.png", colour=(60 * i,) * 3)
    faces = open_dataset("voxceleb2", tmp_path, frames_per_clip=2)
    assert [int(photo.image.mean()) for photo in faces] == [60, 180]


def test_voxceleb2_with_wrong_options_or_clips(tmp_path):
    broken = tmp_path / "id00012/aaa/00001.mp4"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no video")
    with pytest.raises(LirecError, match="damaged"):
        open_dataset("voxceleb2", tmp_path)[0]
    with pytest.raises(LirecError, match="splits"):
        open_dataset("voxceleb2", tmp_path, split="train")
    with pytest.raises(LirecError, match="frames_per_clip"):
        open_dataset("voxceleb2", tmp_path, frames_per_clip=0)


# --- wrong folders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("folder", ["missing", "empty", "other"])
def test_wrong_folder_gives_one_sentence(tmp_path, name, folder):
    if folder != "missing":
        (tmp_path / folder).mkdir()
    if folder == "other" and name != "folder":
        picture(tmp_path / folder / "holiday.jpg")
    with pytest.raises(LirecError) as caught:
        open_dataset(name, tmp_path / folder)
    message = str(caught.value)
    assert str(tmp_path / folder) in message and "\n" not in message and message.endswith(".")
    assert name == "folder" or "http" in message


def test_unknown_set():
    with pytest.raises(LirecError, match="voxceleb2"):
        open_dataset("faces", ".")
