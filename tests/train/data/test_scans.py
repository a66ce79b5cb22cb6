"""Sets of scans, read from small copies of their own formats that are made here."""

import gzip
import io

import numpy as np
import pytest
from PIL import Image

from lirec import LirecError
from lirec.processing.image import to_array
from train.data.facewarehouse import FaceWarehouseScans
from train.data.frgc import FRGCScans, read_abs
from train.data.scans import read_points
from train.data.synthetic import SyntheticFaces


@pytest.fixture(scope="module")
def faces(morphable_model):
    """One rendered face."""
    return SyntheticFaces(morphable_model, 128, supersampling=1.0).sample(1, 7, degraded=False)


@pytest.fixture(scope="module")
def shape(faces, morphable_model):
    """(V, 3) its mesh in metres."""
    return morphable_model(faces.identity, faces.expression)[0].double().numpy()


# FaceWarehouse --------------------------------------------------------------------------------------------------------


def facewarehouse(root, shape, picture, landmarks, unit=10.0, pose=4):
    """A photo and a mesh, in decimetres."""
    folder = root / "Tester_3" / "TrainingPose"
    folder.mkdir(parents=True)
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in shape * unit] + ["vt 0.5 0.5", "f 1/1 2/1 3/1 4/1"]
    (folder / f"pose_{pose}.obj").write_text("\n".join(lines) + "\n")
    Image.fromarray(picture).save(folder / f"pose_{pose}.png")
    rows = [f"{number} {vertex}" for number, vertex in landmarks]
    (root / "landmark_vertices.txt").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def landmarks(morphable_model):
    return [(n, int(morphable_model.landmark_vertices[n])) for n in (30, 36, 45, 48, 54)]


@pytest.mark.parametrize("unit", [1.0, 10.0, 1000.0])
def test_facewarehouse(tmp_path, faces, shape, landmarks, unit):
    scans = FaceWarehouseScans(facewarehouse(tmp_path, shape, to_array(faces.clean[0]), landmarks, unit))
    scan = scans[0]
    assert len(scans) == 1 and scan.name == "3/brow raise" and scan.box is None and scan.image.shape == (128, 128, 3)
    np.testing.assert_allclose(scan.points, shape, atol=1e-6)
    np.testing.assert_allclose(scan.landmarks, shape[[v for _, v in landmarks]], atol=1e-6)
    near = scan.cropped(0.085)
    assert 0.2 * len(shape) < len(near) < 0.9 * len(shape)
    assert np.linalg.norm(near - scan.landmarks[0], axis=1).max() <= 0.085


def test_facewarehouse_is_not_there(tmp_path, faces, shape, landmarks):
    with pytest.raises(LirecError, match=r"FaceWarehouse is not in .*Tester_1/TrainingPose/pose_0\.obj"):
        FaceWarehouseScans(tmp_path)
    root = facewarehouse(tmp_path, shape, to_array(faces.clean[0]), landmarks)
    table = root / "landmark_vertices.txt"
    for content in ("30 1\n31 2\n", "30 1 2\n", "a b\n", "1 1\n2 2\n3 3\n4 4\n", "30 1\n30 2\n1 3\n2 4\n"):
        table.write_text(content)
        with pytest.raises(LirecError, match="four or more, among them 30"):
            FaceWarehouseScans(root)
    table.write_text("30 1\n1 2\n2 3\n3 99999\n")
    with pytest.raises(LirecError, match="vertex 99999, which"):
        FaceWarehouseScans(root)[0]
    table.unlink()
    with pytest.raises(LirecError, match="which vertices"):
        FaceWarehouseScans(root)


@pytest.mark.parametrize("content", ["", "v 1 2\n", "v 1 2 three\n", "v 1 2 3\nv 1 2\n"])
def test_a_damaged_mesh(tmp_path, content):
    (tmp_path / "a.obj").write_text(content)
    with pytest.raises(LirecError, match="unpack"):
        read_points(tmp_path / "a.obj")


# FRGC -----------------------------------------------------------------------------------------------------------------


def frgc(root, faces, packed=True):
    """A range image in FRGC's layout, millimetres with y up and z to the camera, and its photo, which has the next
    number. Of background and every seventh pixel nothing is known."""
    size = faces.clean.shape[3]
    depth = faces.depth[0, 0].double().numpy()
    y, x = (np.mgrid[:size, :size] + 0.5 - size / 2) / (float(faces.focal) * size)
    known = depth > 0
    known.flat[::7] = False
    grid = 1000 * np.stack((x * depth, -y * depth, -depth))
    grid[:, ~known] = -999999
    rows = [f"{size} rows", f"{size} columns", "pixels (flag X Y Z):", " ".join(map(str, known.astype(int).ravel()))]
    text = "\n".join([*rows, *(" ".join(f"{v:.6f}" for v in axis.ravel()) for axis in grid)]) + "\n"
    photo = io.BytesIO()
    Image.fromarray(to_array(faces.clean[0])).save(photo, "PPM")
    folder = root / "nd1" / "Spring2003range"
    folder.mkdir(parents=True)
    pack = gzip.compress if packed else bytes
    ending = ".gz" if packed else ""
    (folder / f"02463d452.abs{ending}").write_bytes(pack(text.encode()))
    (folder / f"02463d453.ppm{ending}").write_bytes(pack(photo.getvalue()))
    return folder / f"02463d452.abs{ending}"


@pytest.mark.parametrize("packed", [True, False])
def test_frgc(tmp_path, faces, shape, morphable_model, packed):
    file = frgc(tmp_path, faces, packed)
    scans = FRGCScans(tmp_path, lambda image: faces.landmarks[0].numpy())
    scan = scans[0]
    assert len(scans) == 1 and scan.name == "02463d452" and scan.image.shape == (128, 128, 3)
    assert 30 in scan.numbers and len(scan.numbers) > 40 and scan.numbers.min() >= 17
    assert np.isfinite(read_abs(file)).all(2).sum() == len(scan.points) > 500
    camera = shape @ faces.rotation[0].double().numpy().T + faces.translation[0].double().numpy()
    true = camera[morphable_model.landmark_vertices[scan.numbers].numpy()] * (1, -1, -1)
    assert np.median(np.linalg.norm(scan.landmarks - true, axis=1)) < 0.003
    np.testing.assert_allclose(scan.box, [*faces.landmarks[0].amin(0), *faces.landmarks[0].amax(0)], atol=1e-4)


def test_frgc_without_a_face(tmp_path, faces):
    file = frgc(tmp_path, faces)
    assert FRGCScans(tmp_path, lambda image: None)[0] is None
    assert FRGCScans(tmp_path, lambda image: faces.landmarks[0].numpy() * 0)[0] is None  # where nothing is known
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(LirecError, match="unpack"):
        FRGCScans(tmp_path, lambda image: None)[0]
    file.write_bytes(gzip.compress(b"480 rows\n640 columns\n"))
    with pytest.raises(LirecError, match="no range image"):
        read_abs(file)
    with pytest.raises(LirecError, match=r"FRGC v2\.0 is not in"):
        FRGCScans(tmp_path / "nd2", lambda image: None)
