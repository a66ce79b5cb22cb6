import io

import numpy as np
import pygltflib
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from lirec.errors import LirecError
from lirec.processing.mesh_export import MeshAnimation, MeshData, export_mesh
from tests.processing.glb import accessor, animated

trimesh = pytest.importorskip("trimesh")

NAMES = ("jawOpen", "mouthSmileLeft", "eyeBlinkLeft")


def cube(textured=True, **options):
    """A cube whose texture has a seam along every edge: each side shows the same picture."""
    vertices = np.array([[x, y, z] for x in (0, 0.1) for y in (0, 0.1) for z in (0, 0.1)], np.float32)
    sides = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    triangles = sides[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    targets = np.zeros((3, 8, 3), np.float32)
    targets[0, :2, 1] = -0.03  # two vertices: stored sparsely
    targets[1, :, 0] = 0.02  # all of them: stored whole; the third moves nothing
    if textured:
        texture = np.zeros((16, 16, 3), np.uint8)
        texture[:8] = (250, 40, 30)  # red above, blue below
        texture[8:] = (20, 30, 240)
        corners = np.array([[0.1, 0.9], [0.9, 0.9], [0.9, 0.1], [0.1, 0.1]], np.float32)
        options.update(uv=corners, triangles_uv=np.tile([[0, 1, 2], [0, 2, 3]], (6, 1)), texture=texture)
    return MeshData(vertices, triangles, morph_targets=targets, morph_names=NAMES, **options)


@pytest.mark.parametrize("texture_format", ["jpeg", "png"])
def test_glb_holds_geometry_texture_and_named_targets(tmp_path, texture_format):
    mesh = cube(morph_weights=np.array([0.25, 0, 1]))
    path = export_mesh(tmp_path / "face.glb", mesh, texture_format)
    document = pygltflib.GLTF2().load(path)
    shape = document.meshes[0]
    assert shape.extras["targetNames"] == list(NAMES)
    assert shape.weights == [0.25, 0, 1]
    primitive = shape.primitives[0]
    positions = accessor(document, primitive.attributes.POSITION)
    triangles = accessor(document, primitive.indices).reshape(-1, 3)
    uv = accessor(document, primitive.attributes.TEXCOORD_0)
    np.testing.assert_array_equal(positions[triangles], mesh.vertices[mesh.triangles])
    np.testing.assert_array_equal(uv[triangles], mesh.uv[mesh.triangles_uv])
    corners = set(zip(mesh.triangles.ravel().tolist(), mesh.triangles_uv.ravel().tolist(), strict=True))
    assert len(positions) == len(corners) > 8
    normals = accessor(document, primitive.attributes.NORMAL)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert ((positions - 0.05) * normals).sum(1).min() > 0  # outwards

    assert len(primitive.targets) == 3
    for index, target in enumerate(primitive.targets):
        moved = accessor(document, target["POSITION"])
        np.testing.assert_allclose(moved[triangles], mesh.morph_targets[index][mesh.triangles], atol=1e-7)
        item = document.accessors[target["POSITION"]]
        np.testing.assert_allclose(item.min, moved.min(0), atol=1e-7)
        np.testing.assert_allclose(item.max, moved.max(0), atol=1e-7)
        assert accessor(document, target["NORMAL"]).shape == moved.shape
    assert document.accessors[primitive.targets[0]["POSITION"]].sparse is not None
    assert document.accessors[primitive.targets[1]["POSITION"]].sparse is None

    image = document.images[0]
    assert image.mimeType == f"image/{texture_format}"
    view = document.bufferViews[image.bufferView]
    encoded = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    decoded = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)
    assert np.abs(decoded - mesh.texture).mean() < 3


def test_trimesh_reads_the_glb(tmp_path):
    mesh = cube()
    loaded = trimesh.load(export_mesh(tmp_path / "a.glb", mesh), force="mesh")
    assert loaded.visual.uv.shape[1] == 2
    loaded.merge_vertices(merge_tex=True, merge_norm=True)
    assert loaded.is_watertight and loaded.volume == pytest.approx(1e-3, rel=1e-4)


def test_glb_with_vertex_colours_is_linear(tmp_path):
    mesh = cube(textured=False, colours=np.full((8, 3), 0.5))
    document = pygltflib.GLTF2().load(export_mesh(tmp_path / "a.glb", mesh, unlit=True))
    colours = accessor(document, document.meshes[0].primitives[0].attributes.COLOR_0)
    np.testing.assert_allclose(colours, 0.2140, atol=1e-3)
    assert "KHR_materials_unlit" in document.materials[0].extensions
    assert document.images == []


def test_many_vertices_use_wide_indices(tmp_path):
    side = 260
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    vertices = np.concatenate([grid, np.zeros((len(grid), 1))], 1) * 0.001
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    triangles = np.stack([corner, corner + 1, corner + side + 1], 1)
    document = pygltflib.GLTF2().load(export_mesh(tmp_path / "a.glb", MeshData(vertices, triangles)))
    primitive = document.meshes[0].primitives[0]
    assert document.accessors[primitive.indices].componentType == pygltflib.UNSIGNED_INT
    np.testing.assert_array_equal(accessor(document, primitive.indices).ravel(), triangles.ravel())


def test_obj_shows_the_expression_and_the_texture(tmp_path):
    mesh = cube(morph_weights=np.array([1.0, 0, 0]))
    path = export_mesh(tmp_path / "my face.obj", mesh)
    assert (tmp_path / "my_face.mtl").is_file() and (tmp_path / "my_face.png").is_file()
    loaded = trimesh.load(path, force="mesh", process=False)
    assert loaded.bounds[0, 1] == pytest.approx(-0.03, abs=1e-5)
    assert len(loaded.faces) == 12
    # The picture stands upright: v counts from below in this format.
    texture = np.asarray(loaded.visual.material.image.convert("RGB"))
    np.testing.assert_array_equal(texture, mesh.texture)
    np.testing.assert_allclose(sorted(set(loaded.visual.uv[:, 1].round(3))), [0.1, 0.9])
    first = path.read_text().splitlines()
    assert "vt 0.100000 0.100000" in first  # row 0.9 from above


def test_ply_has_colours_from_the_texture(tmp_path):
    mesh = cube(morph_weights=np.array([0, 1.0, 0]))
    loaded = trimesh.load(export_mesh(tmp_path / "a.ply", mesh), process=False)
    np.testing.assert_allclose(loaded.vertices, mesh.posed(), atol=1e-6)
    np.testing.assert_array_equal(loaded.faces, mesh.triangles)
    colours = {tuple(colour[:3]) for colour in loaded.visual.vertex_colors.tolist()}
    assert colours <= {(250, 40, 30), (20, 30, 240)}
    given = cube(textured=False, colours=np.tile([0.2, 0.4, 1.0], (8, 1)))
    loaded = trimesh.load(export_mesh(tmp_path / "b.ply", given), process=False)
    assert loaded.visual.vertex_colors[0].tolist()[:3] == [51, 102, 255]
    plain = MeshData(given.vertices, given.triangles)
    assert export_mesh(tmp_path / "c.PLY", plain).stat().st_size > 200


def test_what_does_not_fit_gives_a_sentence(tmp_path):
    mesh = cube()
    for path, message in [
        (tmp_path / "a.fbx", "not .fbx"),
        (tmp_path / "a", "without an ending"),
        (tmp_path / "absent" / "a.glb", "no folder"),
    ]:
        with pytest.raises(LirecError, match=message):
            export_mesh(path, mesh)
    with pytest.raises(LirecError, match="jpeg or png"):
        export_mesh(tmp_path / "a.glb", mesh, texture_format="bmp")
    with pytest.raises(LirecError, match="do not fit"):
        MeshData(mesh.vertices[:4], mesh.triangles)
    with pytest.raises(LirecError, match="needs uv"):
        MeshData(mesh.vertices, mesh.triangles, texture=mesh.texture)
    with pytest.raises(LirecError, match="one uv row"):
        MeshData(mesh.vertices, mesh.triangles, uv=mesh.uv)
    with pytest.raises(LirecError, match="differ in number"):
        MeshData(mesh.vertices, mesh.triangles, morph_targets=mesh.morph_targets, morph_names=("one",))
    with pytest.raises(LirecError, match="not finite"):
        MeshData(mesh.vertices * np.nan, mesh.triangles)


def nodding(count=12):
    """A jaw that opens and closes while the head turns once and a half round."""
    times = np.arange(count) / 25
    weights = np.zeros((count, 3))
    weights[:, 0] = np.abs(np.sin(times * 9))
    turns = Rotation.from_euler("y", np.linspace(0, 3 * np.pi, count)[:, None]).as_matrix()
    return MeshAnimation(times, weights, turns, np.linspace((0, 0, 0), (0.1, 0, 0), count))


def test_glb_is_animated(tmp_path):
    animation = nodding()
    document = pygltflib.GLTF2().load(export_mesh(tmp_path / "a.glb", cube(animation=animation)))
    channels = animated(document)
    assert set(channels) == {"weights", "rotation", "translation"}
    assert len({sampler.input for sampler in document.animations[0].samplers}) == 1
    for times, _ in channels.values():
        np.testing.assert_allclose(times, animation.times)
    times = document.accessors[document.animations[0].samplers[0].input]
    assert times.min == [0] and times.max == pytest.approx([0.44])
    np.testing.assert_allclose(channels["weights"][1], animation.weights, atol=1e-5)
    np.testing.assert_allclose(channels["translation"][1], animation.translations, atol=1e-6)
    turns = channels["rotation"][1]
    np.testing.assert_allclose(Rotation.from_quat(turns).as_matrix(), animation.rotations, atol=1e-6)
    assert (turns[1:] * turns[:-1]).sum(1).min() > 0  # never the long way round
    assert {channel.target.node for channel in document.animations[0].channels} == {0}


def test_frames_that_change_nothing_are_left_out(tmp_path):
    weights = np.zeros((9, 3))
    weights[5:] = 0.5
    mesh = cube(animation=MeshAnimation(np.arange(9), weights))
    channels = animated(pygltflib.GLTF2().load(export_mesh(tmp_path / "a.glb", mesh)))
    assert list(channels) == ["weights"]
    assert channels["weights"][0].tolist() == [0, 4, 5, 8]
    still = MeshAnimation([0.0], np.zeros((1, 3)))
    assert len(still.without_repeats().times) == 1


def test_what_does_not_fit_an_animation_gives_a_sentence():
    with pytest.raises(LirecError, match="begin at 0 or later and grow"):
        MeshAnimation([0, 0.1, 0.1], np.zeros((3, 2)))
    with pytest.raises(LirecError, match="begin at 0 or later and grow"):
        MeshAnimation([], np.zeros((0, 2)))
    with pytest.raises(LirecError, match=r"rotations are finite numbers of shape \(2, 3, 3\), not \(2, 4\)"):
        MeshAnimation([0, 1], np.zeros((2, 2)), np.zeros((2, 4)))
    with pytest.raises(LirecError, match="weights are finite"):
        MeshAnimation([0, 1], np.full((2, 2), np.nan))
    with pytest.raises(LirecError, match="each of the 3 morph targets"):
        cube(animation=MeshAnimation([0, 1], np.zeros((2, 51))))
