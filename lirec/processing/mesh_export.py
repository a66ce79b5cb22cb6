"""Meshes written for other programs: glTF (.glb), which can be animated, Wavefront .obj, Stanford .ply."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pygltflib as gltf
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from lirec.errors import LirecError, writing
from lirec.geometry.lighting import srgb_to_linear
from lirec.geometry.mesh import vertex_normals


@dataclass
class MeshAnimation:
    """How a mesh moves; programs go straight from one of its T frames to the next.

    Args:
        times: (T,) seconds from 0 on, growing.
        weights: (T, K) float in [0, 1], of the mesh's morph targets.
        rotations: (T, 3, 3) float, the mesh's turn about its origin, in its own axes; None: it does not turn.
        translations: (T, 3) float metres, where its origin is; None: it stays.
    """

    times: np.ndarray
    weights: np.ndarray
    rotations: np.ndarray | None = None
    translations: np.ndarray | None = None

    def __post_init__(self):
        self.times = np.asarray(self.times, np.float32)
        self.weights = np.asarray(self.weights, np.float32).clip(0, 1)
        count = len(self.times)
        shapes = {"weights": (count, self.weights.shape[-1]), "rotations": (count, 3, 3), "translations": (count, 3)}
        if not count or not np.isfinite(self.times).all() or self.times[0] < 0 or (np.diff(self.times) <= 0).any():
            raise LirecError("An animation's times begin at 0 or later and grow: leave out repeated ones.")
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values is None:
                continue
            if np.shape(values) != shape or not np.isfinite(values).all():
                raise LirecError(f"An animation's {name} are finite numbers of shape {shape}, not {np.shape(values)}.")

    def without_repeats(self) -> MeshAnimation:
        """The same movement without frames that are like the one before and the one after."""
        rows = [
            np.asarray(values, np.float32).reshape(len(self.times), -1)
            for values in (self.weights, self.rotations, self.translations)
            if values is not None
        ]
        same = (np.diff(np.concatenate(rows, 1), axis=0) == 0).all(1)
        kept = ~(np.append(False, same) & np.append(same, False))
        rotations, translations = (
            None if values is None else np.asarray(values)[kept] for values in (self.rotations, self.translations)
        )
        return MeshAnimation(self.times[kept], self.weights[kept], rotations, translations)


@dataclass
class MeshData:
    """A textured mesh that can change its expression; metres, +x right, +y up, +z out of the face, as glTF.

    Args:
        vertices: (V, 3) float, the face at rest.
        triangles: (F, 3) int, counter-clockwise seen from outside.
        uv: (T, 2) float in [0, 1], v = 0 at the texture's top row; needed with a texture.
        triangles_uv: (F, 3) int, each corner's row of `uv`; equal to `triangles` when None.
        texture: (H, W, 3) uint8 sRGB.
        colours: (V, 3) float sRGB in [0, 1], where there is no texture.
        morph_targets: (K, V, 3) float, how far each vertex moves at weight 1.
        morph_names: K names.
        morph_weights: (K,) float, the expression shown; zeros when None.
        animation: how it moves, if it does.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray | None = None
    triangles_uv: np.ndarray | None = None
    texture: np.ndarray | None = None
    colours: np.ndarray | None = None
    morph_targets: np.ndarray | None = None
    morph_names: tuple[str, ...] = ()
    morph_weights: np.ndarray | None = None
    animation: MeshAnimation | None = None

    def __post_init__(self):
        self.vertices = np.asarray(self.vertices, np.float32)
        self.triangles = np.asarray(self.triangles, np.int64)
        if self.uv is not None:
            self.uv = np.asarray(self.uv, np.float32)
            self.triangles_uv = np.asarray(
                self.triangles if self.triangles_uv is None else self.triangles_uv, np.int64
            )
        if self.morph_targets is not None:
            self.morph_targets = np.asarray(self.morph_targets, np.float32)
        self._check()

    def _check(self) -> None:
        count = len(self.vertices)
        if self.triangles.size == 0 or self.triangles.min() < 0 or self.triangles.max() >= count:
            raise LirecError(f"The mesh's triangles do not fit its {count} vertices: give matching ones.")
        if not np.isfinite(self.vertices).all():
            raise LirecError("The mesh has vertices that are not finite numbers: leave it out.")
        if self.texture is not None and self.uv is None:
            raise LirecError("A texture needs uv coordinates: give uv and triangles_uv too.")
        if self.uv is not None and (
            self.triangles_uv.shape != self.triangles.shape or self.triangles_uv.max() >= len(self.uv)
        ):
            raise LirecError(
                "triangles_uv does not fit the triangles and uv: give one uv row for every corner."
            )
        if self.morph_targets is not None and (
            self.morph_targets.shape != (len(self.morph_names), count, 3)
            or (self.morph_weights is not None and len(self.morph_weights) != len(self.morph_names))
        ):
            raise LirecError("Morph targets, names and weights differ in number: give one of each.")
        if self.animation is not None and self.animation.weights.shape[1] != len(self.morph_names):
            raise LirecError(f"The animation needs a weight for each of the {len(self.morph_names)} morph targets.")

    def posed(self) -> np.ndarray:
        """(V, 3): the vertices with the shown expression."""
        if self.morph_targets is None or self.morph_weights is None:
            return self.vertices
        return self.vertices + np.tensordot(np.asarray(self.morph_weights, np.float32), self.morph_targets, 1)


def export_mesh(
    path: str | os.PathLike, mesh: MeshData, texture_format: str = "jpeg", unlit: bool = False
) -> Path:
    """Write a mesh to `path`, in the format of its ending.

    `.glb` holds everything: the texture, normals, the morph targets by name with the shown expression as their
    weights, and the animation. `.obj` (with a `.mtl` and a `.png` beside it) and `.ply` (with a colour per vertex) hold
    the shown expression only.

    Args:
        texture_format: "jpeg" or "png", for `.glb`.
        unlit: in `.glb`, show the texture as it is, without light.

    Returns:
        the path written.

    Raises:
        LirecError: an unknown ending, or a path that cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    with writing(path):
        if ending == ".glb":
            path.write_bytes(_glb(mesh, texture_format, unlit))
        elif ending == ".obj":
            _write_obj(path, mesh)
        elif ending == ".ply":
            path.write_bytes(_ply(mesh))
        else:
            raise LirecError(f"A mesh is written as .glb, .obj or .ply, not {ending or 'without an ending'}.")
    return path


def _normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals (..., V, 3); where a vertex has no area around it, +z."""
    batch = torch.from_numpy(vertices.reshape(-1, *vertices.shape[-2:]))
    normals = vertex_normals(batch, torch.from_numpy(triangles)).numpy().reshape(vertices.shape)
    normals[(normals == 0).all(-1)] = (0, 0, 1)
    return normals


def _split_along_seams(mesh: MeshData) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """glTF has one uv per vertex: a vertex on a seam becomes several.

    Returns:
        the original vertex of each new one (N,), the triangles (F, 3) over the new ones, their uv (N, 2).
    """
    if mesh.uv is None:
        return np.arange(len(mesh.vertices)), mesh.triangles, None
    corners = mesh.triangles.ravel() * len(mesh.uv) + mesh.triangles_uv.ravel()
    unique, triangles = np.unique(corners, return_inverse=True)
    return unique // len(mesh.uv), triangles.reshape(-1, 3), mesh.uv[unique % len(mesh.uv)]


def _glb(mesh: MeshData, texture_format: str, unlit: bool) -> bytes:
    origin, triangles, uv = _split_along_seams(mesh)
    file = _GlbFile()
    normals = _normals(mesh.vertices, mesh.triangles)
    attributes = gltf.Attributes(
        POSITION=file.vertex_data(mesh.vertices[origin], limits=True),
        NORMAL=file.vertex_data(normals[origin]),
    )
    material = gltf.Material(
        name="face",
        doubleSided=True,
        pbrMetallicRoughness=gltf.PbrMetallicRoughness(metallicFactor=0.0, roughnessFactor=0.6),
    )
    if unlit:
        material.extensions = {"KHR_materials_unlit": {}}
        file.document.extensionsUsed = ["KHR_materials_unlit"]
    if uv is not None:
        attributes.TEXCOORD_0 = file.vertex_data(uv)
    if mesh.texture is not None:
        material.pbrMetallicRoughness.baseColorTexture = file.texture(mesh.texture, texture_format)
    elif mesh.colours is not None:
        linear = srgb_to_linear(torch.from_numpy(np.asarray(mesh.colours, np.float32))).numpy()
        attributes.COLOR_0 = file.vertex_data(linear[origin])

    primitive = gltf.Primitive(attributes=attributes, indices=file.indices(triangles), material=0)
    shape = gltf.Mesh(name="face", primitives=[primitive])
    if mesh.morph_targets is not None:
        turned = _normals(mesh.vertices + mesh.morph_targets, mesh.triangles) - normals
        primitive.targets = [
            gltf.Attributes(
                POSITION=file.morph_data(moved[origin], limits=True, name=name),
                NORMAL=file.morph_data(turn[origin]),
            )
            for name, moved, turn in zip(mesh.morph_names, mesh.morph_targets, turned, strict=True)
        ]
        weights = np.zeros(len(mesh.morph_names)) if mesh.morph_weights is None else mesh.morph_weights
        shape.weights = [float(weight) for weight in weights]
        # Not in the standard itself, but where every program looks for the names.
        shape.extras = {"targetNames": list(mesh.morph_names)}
    file.document.materials = [material]
    file.document.meshes = [shape]
    if mesh.animation is not None:
        file.animate(mesh.animation.without_repeats())
    return file.finish()


class _GlbFile:
    """A glTF document with one node, and its binary chunk, as they grow."""

    def __init__(self):
        self.document = gltf.GLTF2(
            asset=gltf.Asset(version="2.0", generator="lirec"),
            scene=0,
            scenes=[gltf.Scene(nodes=[0])],
            nodes=[gltf.Node(name="face", mesh=0)],
        )
        self.data = bytearray()

    def vertex_data(self, values: np.ndarray, limits: bool = False) -> int:
        """(N, 2) or (N, 3) float -> number of its accessor."""
        accessor = self._accessor(values, limits)
        accessor.bufferView = self._view(np.asarray(values, np.float32), gltf.ARRAY_BUFFER)
        return self._add(accessor)

    def morph_data(self, values: np.ndarray, limits: bool = False, name: str | None = None) -> int:
        """(N, 3) float, zero in most rows -> number of its accessor, which stores only the others."""
        values = np.ascontiguousarray(values, np.float32)
        values = np.where(np.abs(values) < 1e-6, np.float32(0), values)
        accessor = self._accessor(values, limits)
        accessor.name = name
        rows = np.flatnonzero(values.any(1))
        if len(rows) > 0.75 * len(values):
            accessor.bufferView = self._view(values, gltf.ARRAY_BUFFER)
        elif len(rows):
            kind, component = _index_type(len(values))
            accessor.sparse = gltf.Sparse(
                count=len(rows),
                indices=gltf.AccessorSparseIndices(
                    bufferView=self._view(rows.astype(kind)), componentType=component
                ),
                values=gltf.AccessorSparseValues(bufferView=self._view(values[rows])),
            )
        if accessor.bufferView is None:
            accessor.byteOffset = None  # of which pygltflib has a default, and the standard wants none
        return self._add(accessor)

    def indices(self, triangles: np.ndarray) -> int:
        kind, component = _index_type(int(triangles.max()) + 1)
        view = self._view(triangles.astype(kind).ravel(), gltf.ELEMENT_ARRAY_BUFFER)
        count = triangles.size
        return self._add(
            gltf.Accessor(bufferView=view, componentType=component, count=count, type=gltf.SCALAR)
        )

    def texture(self, pixels: np.ndarray, texture_format: str) -> gltf.TextureInfo:
        if texture_format not in ("jpeg", "png"):
            raise LirecError(f"A texture is stored as jpeg or png, not {texture_format}.")
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, texture_format, quality=95, subsampling=0)
        view = self._view(np.frombuffer(encoded.getvalue(), np.uint8))
        self.document.images = [gltf.Image(bufferView=view, mimeType=f"image/{texture_format}", name="skin")]
        repeat = gltf.CLAMP_TO_EDGE
        self.document.samplers = [
            gltf.Sampler(
                magFilter=gltf.LINEAR, minFilter=gltf.LINEAR_MIPMAP_LINEAR, wrapS=repeat, wrapT=repeat
            )
        ]
        self.document.textures = [gltf.Texture(source=0, sampler=0)]
        return gltf.TextureInfo(index=0)

    def animate(self, animation: MeshAnimation) -> None:
        """Move the node and its morph targets."""
        times = self._add(self._accessor(animation.times[:, None], limits=True, view=True))
        outputs = {}
        if animation.weights.size:
            # 16 bits for [0, 1], as the standard has it for weights, make half the file of floats.
            levels = np.round(animation.weights * 65535).astype(np.uint16).ravel()
            outputs["weights"] = self._add(
                gltf.Accessor(
                    bufferView=self._view(levels), componentType=gltf.UNSIGNED_SHORT, normalized=True,
                    count=levels.size, type=gltf.SCALAR,
                )
            )  # fmt: skip
        if animation.rotations is not None:
            turns = Rotation.from_matrix(animation.rotations).as_quat()
            # q and -q are the same turn, but between the two a program would go the long way round.
            turns[1:] *= np.cumprod(np.where((turns[1:] * turns[:-1]).sum(1) < 0, -1, 1))[:, None]
            outputs["rotation"] = self._add(self._accessor(turns, view=True))
        if animation.translations is not None:
            outputs["translation"] = self._add(self._accessor(animation.translations, view=True))
        self.document.animations = [
            gltf.Animation(
                name="motion",
                samplers=[
                    gltf.AnimationSampler(input=times, output=output, interpolation=gltf.ANIM_LINEAR)
                    for output in outputs.values()
                ],
                channels=[
                    gltf.AnimationChannel(sampler=index, target=gltf.AnimationChannelTarget(node=0, path=path))
                    for index, path in enumerate(outputs)
                ],
            )
        ]

    def finish(self) -> bytes:
        self.document.buffers = [gltf.Buffer(byteLength=len(self.data))]
        self.document.set_binary_blob(bytes(self.data))
        return b"".join(self.document.save_to_bytes())

    def _accessor(self, values: np.ndarray, limits: bool = False, view: bool = False) -> gltf.Accessor:
        """Of (N, 1 to 4) float; with a view on the values, or to be given one."""
        values = np.asarray(values, np.float32)
        kind = (gltf.SCALAR, gltf.VEC2, gltf.VEC3, gltf.VEC4)[values.shape[1] - 1]
        accessor = gltf.Accessor(componentType=gltf.FLOAT, count=len(values), type=kind)
        if limits:
            accessor.min, accessor.max = values.min(0).tolist(), values.max(0).tolist()
        if view:
            accessor.bufferView = self._view(values)
        return accessor

    def _view(self, values: np.ndarray, target: int | None = None) -> int:
        data = values.tobytes()
        view = gltf.BufferView(buffer=0, byteOffset=len(self.data), byteLength=len(data), target=target)
        self.document.bufferViews.append(view)
        self.data += data + bytes(-len(data) % 4)
        return len(self.document.bufferViews) - 1

    def _add(self, accessor: gltf.Accessor) -> int:
        self.document.accessors.append(accessor)
        return len(self.document.accessors) - 1


def _index_type(count: int) -> tuple[type, int]:
    return (np.uint16, gltf.UNSIGNED_SHORT) if count < 65535 else (np.uint32, gltf.UNSIGNED_INT)


def _write_obj(path: Path, mesh: MeshData) -> None:
    vertices = mesh.posed()
    normals = _normals(vertices, mesh.triangles)
    lines = ["# metres; +x right, +y up, +z out of the face"]
    # Names with spaces break many readers.
    stem = path.stem.replace(" ", "_")
    if mesh.texture is not None:
        picture, material = path.with_name(f"{stem}.png"), path.with_name(f"{stem}.mtl")
        Image.fromarray(mesh.texture).save(picture)
        material.write_text(f"newmtl face\nKd 1 1 1\nKs 0 0 0\nmap_Kd {picture.name}\n", encoding="utf-8")
        lines += [f"mtllib {material.name}", "usemtl face"]
    rows = vertices if mesh.colours is None else np.concatenate([vertices, mesh.colours], 1)
    lines += ["v " + " ".join(f"{value:.6f}" for value in row) for row in rows.tolist()]
    if mesh.uv is not None:
        lines += [f"vt {u:.6f} {1 - v:.6f}" for u, v in mesh.uv.tolist()]
    lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in normals.tolist()]
    faces = (mesh.triangles + 1).tolist()
    if mesh.uv is None:
        lines += ["f " + " ".join(f"{v}//{v}" for v in face) for face in faces]
    else:
        for face, face_uv in zip(faces, (mesh.triangles_uv + 1).tolist(), strict=True):
            lines.append("f " + " ".join(f"{v}/{t}/{v}" for v, t in zip(face, face_uv, strict=True)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _ply(mesh: MeshData) -> bytes:
    vertices = mesh.posed()
    colours = _vertex_colours(mesh)
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    if colours is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.empty(len(vertices), np.dtype(fields))
    for axis, name in enumerate("xyz"):
        rows[name] = vertices[:, axis]
        rows[f"n{name}"] = _normals(vertices, mesh.triangles)[:, axis]
    if colours is not None:
        for channel, name in enumerate(("red", "green", "blue")):
            rows[name] = colours[:, channel]
    faces = np.empty(len(mesh.triangles), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    faces["count"], faces["corners"] = 3, mesh.triangles
    kinds = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", "comment metres", f"element vertex {len(rows)}"]
    header += [f"property {kinds[kind]} {name}" for name, kind in fields]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(header).encode("ascii") + rows.tobytes() + faces.tobytes()


def _vertex_colours(mesh: MeshData) -> np.ndarray | None:
    """(V, 3) uint8 sRGB: the given colours, or the texture at one of each vertex's uv."""
    if mesh.colours is not None:
        return np.round(np.clip(mesh.colours, 0, 1) * 255).astype(np.uint8)
    if mesh.texture is None:
        return None
    height, width = mesh.texture.shape[:2]
    uv = np.zeros((len(mesh.vertices), 2), np.float32)
    uv[mesh.triangles.ravel()] = mesh.uv[mesh.triangles_uv.ravel()]
    column = (uv[:, 0] * width).astype(int).clip(0, width - 1)
    row = (uv[:, 1] * height).astype(int).clip(0, height - 1)
    return mesh.texture[row, column]
