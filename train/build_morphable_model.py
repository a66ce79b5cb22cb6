"""Build the free morphable model from `anny` (Apache-2.0 code, CC0 data): `python -m train.build_morphable_model`.

Shape comes from sampled anny heads, with eyes and teeth added; albedo from procedural skins. Every sampled face
enters the principal component analysis together with its mirror image, so each mode is either symmetric or
antisymmetric and mirroring a face only changes signs.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from skimage.measure import points_in_poly

from lirec.geometry.lighting import linear_to_srgb
from lirec.geometry.mesh import vertex_normals
from lirec.geometry.rasterizer import rasterize
from lirec.models.morphable_model import AXIS_Z, EYE_LIMIT, ISLANDS, REGIONS, SKIN_BOTTOM, MorphableModel
from lirec.models.weights import save_model
from train.data.skins import SkinPainter

LANDMARKS = Path(__file__).with_name("landmarks68.json")
ORIGIN = np.array([0.0, -0.115, 0.7335])  # between the eyes, in anny's frame (x right, y back, z up)
LID_CLOSURE = 0.72  # anny's blink overshoots: lids meet at about this weight
GAZE = {"In": (0, 25.0), "Out": (0, 25.0), "Up": (1, 16.0), "Down": (1, 20.0)}  # degrees at weight 1
SHARED_AXIS = {"african", "asian", "caucasian"}


def to_face_frame(points: np.ndarray) -> np.ndarray:
    points = points - ORIGIN
    return np.stack((points[..., 0], points[..., 2], -points[..., 1]), -1)


class AnnyHeads:
    """anny's head topology: vertices for phenotypes, local changes and facial actions, in the face frame."""

    def __init__(self):
        from anny import Anny
        from anny.face_segmentation import get_face_segmentation_mask

        self.model = Anny(
            rig="anny", topology="head", local_changes="all", facial_actions="all", phenotypes="all"
        ).to(dtype=torch.float32)
        self.triangles = self.model.get_triangular_faces().numpy().astype(np.int64)
        self.pose = torch.eye(4)[None, None].repeat(1, self.model.bone_count, 1, 1)
        self.cavity = {
            name: np.asarray(get_face_segmentation_mask(self.model, labels)).astype(bool)
            for name, labels in (
                ("mouth_cavity", ["mouth_cavity"]),
                ("eye_cavity", ["eye_cavity.L", "eye_cavity.R"]),
            )
        }
        face_words = ("cheek", "chin", "ear-", "eyebrows", "eye-", "forehead", "head-", "mouth-", "nose-")
        self.face_changes = [
            name for name in self.model.local_change_labels if any(word in name for word in face_words)
        ]
        self.actions = [name for name in self.model.facial_action_labels if name != "tongueOut"]

    @torch.no_grad()
    def vertices(self, phenotype, changes=None, actions=None) -> np.ndarray:
        count = len(next(iter(phenotype.values())))
        result = self.model(
            pose_parameters=self.pose.repeat(count, 1, 1, 1),
            phenotype_kwargs=phenotype,
            local_changes_kwargs=changes or {},
            facial_actions=actions or {},
        )
        return to_face_frame(result["vertices"].numpy().astype(np.float64))

    def neutral_phenotype(self):
        values = {name: torch.full((1,), 0.5) for name in self.model.phenotype_labels}
        values["age"] = torch.tensor([0.7])
        for name in SHARED_AXIS:
            values[name] = torch.full((1,), 1 / 3)
        return values

    def sample(self, rng: np.random.Generator, count: int):
        """Adults: gentle local changes, since the full range of anny's sliders gives caricatures."""

        def tensor(values):
            return torch.as_tensor(np.asarray(values), dtype=torch.float32)

        phenotype = {name: tensor(np.full(count, 0.5)) for name in self.model.phenotype_labels}
        phenotype["gender"] = tensor(rng.beta(0.6, 0.6, count))
        phenotype["age"] = tensor(rng.uniform(0.58, 1.0, count))
        phenotype["muscle"] = tensor(rng.uniform(0.2, 0.8, count))
        phenotype["weight"] = tensor(np.clip(rng.normal(0.52, 0.22, count), 0, 1))
        phenotype["height"] = tensor(rng.uniform(0.4, 0.6, count))
        phenotype["proportions"] = tensor(rng.uniform(0.3, 0.7, count))
        shares = rng.dirichlet([0.45] * 3, count)
        for axis, name in enumerate(sorted(SHARED_AXIS)):
            phenotype[name] = tensor(shares[:, axis])
        changes = {}
        for name in self.face_changes:
            if name.startswith("r-"):
                continue
            sigma = self._change_sigma(name)
            values = np.clip(rng.normal(0, sigma, count), -2.2 * sigma, 2.2 * sigma)
            changes[name] = tensor(values)
            if name.startswith("l-"):  # faces are nearly, not fully, symmetric
                changes["r-" + name[2:]] = tensor(values + rng.normal(0, 0.15 * sigma, count))
        return phenotype, changes

    @staticmethod
    def _change_sigma(name: str) -> float:
        if name in ("head-age-incr", "head-fat-incr") or "epicanthus" in name:
            return 0.3
        if "trans-out" in name and not name.startswith("l-"):
            return 0.04
        if name.startswith("head-trans"):
            return 0.04
        if name.startswith(("head-scale", "forehead-scale")) or "back-scale" in name:
            return 0.12
        if name.startswith("head-"):
            return 0.18
        return 0.22


def fit_similarity(source: np.ndarray, target: np.ndarray, scale: bool = True):
    """Scale, rotation and translation that bring source (N, 3) nearest to target (N, 3)."""
    a, b = source.mean(0), target.mean(0)
    u, singular, vt = np.linalg.svd((source - a).T @ (target - b))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = (vt.T * sign) @ u.T
    size = (singular * sign).sum() / ((source - a) ** 2).sum() if scale else 1.0
    return size, rotation, b - size * rotation @ a


def fit_sphere(points: np.ndarray):
    design = np.c_[2 * points, np.ones(len(points))]
    x = np.linalg.lstsq(design, (points**2).sum(1), rcond=None)[0]
    return x[:3], float(np.sqrt(x[3] + (x[:3] ** 2).sum()))


def eye_dome(rings: int = 9, segments: int = 16, opening: float = 1.75):
    """Unit sphere cap round +z: vertices (N, 3), triangles. A slight cornea bulge catches the light."""
    polar = opening * np.linspace(0, 1, rings + 1)[1:] ** 0.8
    around = 2 * np.pi * np.arange(segments) / segments
    radius = 1 + 0.05 * np.exp(-((polar / 0.35) ** 2))
    ring = np.stack(
        (
            radius[:, None] * np.sin(polar)[:, None] * np.cos(around),
            radius[:, None] * np.sin(polar)[:, None] * np.sin(around),
            (radius * np.cos(polar))[:, None] * np.ones_like(around),
        ),
        -1,
    ).reshape(-1, 3)
    vertices = np.concatenate(([[0, 0, 1.05]], ring))
    triangles = [[0, 1 + s, 1 + (s + 1) % segments] for s in range(segments)]
    for r in range(rings - 1):
        for s in range(segments):
            a, b = 1 + r * segments + s, 1 + r * segments + (s + 1) % segments
            triangles += [[a, a + segments, b], [b, a + segments, b + segments]]
    return vertices, np.array(triangles)


def teeth_arch(columns: int = 17, rows: int = 4):
    """Grid (rows x columns) of a dental arch: x in [-1, 1], row in [0, 1]; vertices are placed by `place_teeth`."""
    x, row = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(0, 1, rows))
    grid = np.stack((x.ravel(), row.ravel()), 1)
    triangles = []
    for r in range(rows - 1):
        for c in range(columns - 1):
            a = r * columns + c
            triangles += [[a, a + columns, a + 1], [a + 1, a + columns, a + columns + 1]]
    return grid, np.array(triangles)


def place_teeth(grid, top: float, bottom: float, depth: float, half_width: float = 0.025):
    x = grid[:, 0] * half_width
    y = top + (bottom - top) * grid[:, 1]
    return np.stack((x, y, depth - x**2 / (2 * 0.022)), 1)


class HeadAssembly:
    """anny's skin and tongue with our own eyeballs and teeth, one topology for all sampled heads."""

    def __init__(self, heads: AnnyHeads, landmarks: np.ndarray):
        self.heads, self.landmarks = heads, landmarks
        self.neutral = heads.vertices(heads.neutral_phenotype())[0]
        triangles, count = heads.triangles, len(self.neutral)
        edges = (triangles.ravel(), np.roll(triangles, 1, 1).ravel())
        _, part = connected_components(coo_matrix((np.ones(triangles.size), edges), (count, count)), False)
        parts = np.argsort(-np.bincount(part))  # skin, tongue, two eyeballs
        self.skin, self.tongue = np.where(part == parts[0])[0], np.where(part == parts[1])[0]
        eyeballs = sorted(
            (np.where(part == p)[0] for p in parts[2:4]), key=lambda i: -self.neutral[i, 0].mean()
        )
        self.eyeball = eyeballs[0]  # the person's left one is whole, the other is a half
        self.kept = np.sort(np.concatenate((self.skin, self.tongue)))
        renumber = np.full(count, -1)
        renumber[self.kept] = np.arange(len(self.kept))
        used = np.isin(triangles[:, 0], self.kept)
        dome, dome_triangles = eye_dome()
        self.dome = dome
        grid, arch_triangles = teeth_arch()
        self.teeth_grid = grid
        self.landmark_vertices = renumber[landmarks]
        self.renumber = renumber

        blocks, self.slices, start = [renumber[triangles[used]]], {}, len(self.kept)
        mirrored = dome_triangles[:, ::-1]
        for name, vertices, faces in (
            ("eye_left", len(dome), dome_triangles),
            ("eye_right", len(dome), mirrored),
            ("teeth_upper", len(grid), arch_triangles),
            ("teeth_lower", len(grid), arch_triangles),
        ):
            blocks.append(faces + start)
            self.slices[name] = slice(start, start + vertices)
            start += vertices
        self.triangles = np.concatenate(blocks)
        self.count = start
        self.lip = {name: self.neutral[landmarks[i]] for name, i in (("upper", 62), ("lower", 66))}
        skin_points = self.neutral[self.skin]
        self.front = self.skin[
            (skin_points[:, 2] > -0.05) & (skin_points[:, 1] > -0.115) & (skin_points[:, 1] < 0.07)
        ]
        chin = landmarks[8]
        self.chin = self.skin[np.linalg.norm(skin_points - self.neutral[chin], axis=1) < 0.02]
        self.region = self._regions(triangles[used], {k: v[used] for k, v in heads.cavity.items()})
        self.mirror = self._mirror()

    def _regions(self, triangles, cavity):
        region = np.zeros(self.count, np.int64)
        neutral = self.neutral[self.kept]
        point = {i: neutral[self.landmark_vertices[i]] for i in range(68)}
        for name in ("mouth_cavity", "eye_cavity"):
            region[self.renumber[np.unique(triangles[cavity[name]])]] = REGIONS.index(name)
        outside = np.unique(triangles[~cavity["mouth_cavity"] & ~cavity["eye_cavity"]])
        region[self.renumber[outside]] = 0
        kept = neutral
        is_skin = np.zeros(self.count, bool)
        is_skin[: len(self.kept)] = region[: len(self.kept)] == 0
        x, y, z = (np.pad(kept[:, axis], (0, self.count - len(kept))) for axis in range(3))
        lips = np.array([point[i][:2] for i in range(48, 60)])
        brows = [np.array([point[i][:2] for i in ids]) for ids in (range(17, 22), range(22, 27))]
        inside = points_in_poly(np.c_[x, y], lips)
        region[is_skin & inside & (z > point[48][2] - 0.012)] = REGIONS.index("lips")
        for brow in brows:
            near = np.min(np.linalg.norm(np.c_[x, y][:, None] - brow[None], axis=2), axis=1) < 0.007
            region[is_skin & near & (z > -0.03)] = REGIONS.index("brows")
        ear = (np.abs(x) > 0.068) & (y < 0.03) & (y > -0.06) & (z < -0.055) & (z > -0.13)
        region[is_skin & ear] = REGIONS.index("ear")
        angle = np.abs(np.arctan2(x, z + 0.06))
        hairline = np.interp(
            angle, [0, 0.5, 0.9, 1.2, 1.5, 1.9, np.pi], [0.085, 0.08, 0.05, 0.02, -0.03, -0.06, -0.06]
        )
        region[is_skin & (y > hairline) & (region == 0)] = REGIONS.index("scalp")
        below = y < np.interp(np.abs(x), [0, 0.05, 0.08], [point[8][1] - 0.012, point[4][1], -0.06])
        region[is_skin & below & (z < point[8][2] - 0.01) & (region == 0)] = REGIONS.index("neck")
        region[self.renumber[self.tongue]] = REGIONS.index("tongue")
        for name, part in self.slices.items():
            region[part] = REGIONS.index(name)
        return region

    def _mirror(self):
        mean = self.assemble(self.neutral)
        mirror = np.arange(self.count)
        for members in (self.renumber[self.skin], self.renumber[self.tongue]):
            _, nearest = cKDTree(mean[members]).query(mean[members] * [-1, 1, 1])
            mirror[members] = members[nearest]
        left, right = self.slices["eye_left"], self.slices["eye_right"]
        mirror[left], mirror[right] = np.arange(self.count)[right], np.arange(self.count)[left]
        for name in ("teeth_upper", "teeth_lower"):
            ids = np.arange(self.count)[self.slices[name]].reshape(4, -1)
            mirror[self.slices[name]] = ids[:, ::-1].ravel()
        return mirror

    def assemble(self, head: np.ndarray) -> np.ndarray:
        """anny vertices (N, 3) of a neutral head to the whole topology (V, 3)."""
        result = np.empty((self.count, 3))
        result[: len(self.kept)] = head[self.kept]
        centre, radius = fit_sphere(head[self.eyeball])
        # the far eye is the mirror image, shifted as its lids are
        left_lids, right_lids = head[self.landmarks[[42, 45]]].mean(0), head[self.landmarks[[36, 39]]].mean(0)
        result[self.slices["eye_left"]] = centre + radius * self.dome
        shift = centre - left_lids
        result[self.slices["eye_right"]] = right_lids + shift * [-1, 1, 1] + radius * self.dome * [-1, 1, 1]
        upper_lip, lower_lip = head[self.landmarks[62]], head[self.landmarks[66]]
        skull = 0.5 * (upper_lip + head[self.landmarks[33]])
        neutral_skull = 0.5 * (self.lip["upper"] + self.neutral[self.landmarks[33]])
        jaw = 0.5 * (lower_lip + head[self.landmarks[8]])
        neutral_jaw = 0.5 * (self.lip["lower"] + self.neutral[self.landmarks[8]])
        y, z = self.lip["upper"][1], self.lip["upper"][2] - 0.0125
        result[self.slices["teeth_upper"]] = place_teeth(self.teeth_grid, y + 0.011, y - 0.003, z) + (
            skull - neutral_skull
        )
        result[self.slices["teeth_lower"]] = place_teeth(
            self.teeth_grid, y - 0.002, y - 0.014, z - 0.0025
        ) + (jaw - neutral_jaw)
        return result

    def expression(self, name: str, mean: np.ndarray) -> np.ndarray:
        """Displacement (V, 3) of one facial action at weight 1."""
        phenotype = self.heads.neutral_phenotype()
        moved = self.heads.vertices(phenotype, actions={name: torch.ones(1)})[0]
        delta = moved - self.neutral
        if name.startswith("eyeBlink"):
            delta = delta * LID_CLOSURE
        result = np.zeros((self.count, 3))
        result[: len(self.kept)] = delta[self.kept]
        if name.startswith("eyeLook"):
            self._turn_eye(name, mean, result)
        if name.startswith("jaw"):
            _, rotation, shift = fit_similarity(self.neutral[self.chin], moved[self.chin], scale=False)
            part = self.slices["teeth_lower"]
            result[part] = mean[part] @ rotation.T + shift - mean[part]
        return result

    def _turn_eye(self, name, mean, result):
        direction, side = name[len("eyeLook") :].replace("Left", ""), "left"
        if name.endswith("Right"):
            direction, side = name[len("eyeLook") : -len("Right")], "right"
        axis, degrees = GAZE[direction]
        angle = np.deg2rad(degrees)
        if axis == 0:  # +x is the person's left: "out" turns the left eye to +x
            angle *= 1 if (direction == "Out") == (side == "left") else -1
            rotation = np.array(
                [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
            )
        else:
            angle *= -1 if direction == "Up" else 1
            rotation = np.array(
                [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
            )
        part = self.slices[f"eye_{side}"]
        centre, _ = fit_sphere(mean[part][17:])  # past the cornea
        result[part] = (mean[part] - centre) @ rotation.T + centre - mean[part]


def cylinder_uv(points: np.ndarray) -> np.ndarray:
    """Angle and height round the head, stretched so that the face gets most of the texels."""
    angle = np.arctan2(points[..., 0], points[..., 2] - AXIS_Z) / np.pi
    u = 0.5 + 0.5 * np.sign(angle) * (1 - (1 - np.abs(angle)) ** 2.4)
    v = SKIN_BOTTOM * np.interp(-points[..., 1], [-0.125, -0.06, 0.12, 0.175], [0.0, 0.13, 0.9, 1.0])
    return np.stack((u, v), -1)


def texture_layout(
    mean: np.ndarray, triangles: np.ndarray, region: np.ndarray, dome: np.ndarray, grid: np.ndarray
):
    """Texture coordinates (T, 2) and their triangles (F, 3)."""
    uv = cylinder_uv(mean)

    def put(mask, local, island):
        u0, v0, width, height = ISLANDS[island]
        uv[mask] = np.array([u0, v0]) + np.clip(local, 0, 1) * [width, height]

    polar = np.arccos(np.clip(dome[:, 2] / np.linalg.norm(dome, axis=1), -1, 1))
    radial = 0.5 * np.minimum(polar / EYE_LIMIT, 1)
    around = np.arctan2(dome[:, 1], dome[:, 0])
    local = 0.5 + radial[:, None] * np.stack((np.cos(around), -np.sin(around)), 1)
    for name in ("eye_left", "eye_right"):
        put(region == REGIONS.index(name), local if name == "eye_left" else local * [-1, 1] + [1, 0], name)
    for name in ("teeth_upper", "teeth_lower"):
        put(region == REGIONS.index(name), np.stack((0.5 + 0.5 * grid[:, 0], grid[:, 1]), 1), name)
    for name in ("tongue", "mouth_cavity"):
        mask = region == REGIONS.index(name)
        box = mean[mask][:, [0, 2]]
        put(mask, (box - box.min(0)) / np.ptp(box, axis=0), name)

    inner = region[triangles] == REGIONS.index("mouth_cavity")
    triangles_uv = triangles.copy()
    extra, start = [], len(uv)
    # cavity triangles that share a corner with the lips: that corner gets a cell coordinate of its own
    centre = np.array(ISLANDS["mouth_cavity"][:2]) + np.array(ISLANDS["mouth_cavity"][2:]) / 2
    mixed = inner.any(1) & ~inner.all(1)
    for face in np.where(mixed)[0]:
        for corner in range(3):
            if not inner[face, corner]:
                triangles_uv[face, corner] = start + len(extra)
                extra.append(centre)
    skin = np.isin(
        region[triangles],
        [REGIONS.index(n) for n in ("skin", "lips", "brows", "eye_cavity", "scalp", "ear", "neck")],
    ).all(1)
    u = uv[triangles][..., 0]
    crossing = skin & (np.ptp(u, axis=1) > 0.5)  # the seam at the back of the head
    for face in np.where(crossing)[0]:
        majority = (u[face] > 0.5).sum() >= 2
        for corner in range(3):
            if (u[face, corner] > 0.5) != majority:
                triangles_uv[face, corner] = start + len(extra)
                extra.append([1.0 if majority else 0.0, uv[triangles[face, corner], 1]])
    return np.concatenate((uv, np.array(extra).reshape(-1, 2))), triangles_uv


def ambient_occlusion(vertices: np.ndarray, triangles: np.ndarray, directions: int = 160) -> np.ndarray:
    """Share of the sky that each vertex sees, cosine weighted: shadow maps from evenly spread directions."""
    points = torch.as_tensor(vertices, dtype=torch.float32)[None]
    faces = torch.as_tensor(triangles)
    normals = vertex_normals(points, faces)[0]
    k = torch.arange(directions) + 0.5
    polar, around = torch.arccos(1 - 2 * k / directions), torch.pi * (1 + 5**0.5) * k
    lights = torch.stack((polar.sin() * around.cos(), polar.cos(), polar.sin() * around.sin()), 1)
    size, extent = 512, 0.32
    seen, total = torch.zeros(len(vertices)), torch.zeros(len(vertices))
    for light in lights:
        side = torch.linalg.cross(light, torch.tensor([0.0, 1.0, 0.01]))
        side = side / side.norm()
        up = torch.linalg.cross(light, side)
        local = torch.stack((points[0] @ side, points[0] @ up, 1 - points[0] @ light), 1)
        local[:, :2] = (local[:, :2] / extent + 0.5) * size
        depth = rasterize(local[None], faces, size, size).depth[0]
        column, row = local[:, 0].long().clamp(0, size - 1), local[:, 1].long().clamp(0, size - 1)
        cosine = (normals @ light).clamp_min(0)
        visible = (local[:, 2] < depth[row, column] + 0.0025).float()
        seen += cosine * visible
        total += cosine
    return (seen / total.clamp_min(1e-6)).numpy()


# What a closed mouth hides is lit when it opens, and this model of light cannot know: typical values.
MOUTH_LIGHT = {"teeth_upper": 0.7, "teeth_lower": 0.6, "tongue": 0.5, "mouth_cavity": 0.3}


def principal_components(samples: np.ndarray, mirrored: np.ndarray, count: int, weights: np.ndarray):
    """
    Modes of samples (N, D) and their mirror images, scaled to one standard deviation, with their parity.

    Symmetric and antisymmetric halves are uncorrelated by construction: each is decomposed on its own.
    """
    mean = 0.5 * (samples + mirrored).mean(0)
    modes = []
    for sign in (1, -1):
        half = 0.5 * ((samples - mean) + sign * (mirrored - mean))
        gram = (half * weights) @ half.T
        values, vectors = np.linalg.eigh(gram)
        for index in np.argsort(-values)[:count]:
            modes.append((values[index], sign, half.T @ vectors[:, index] / np.sqrt(len(samples))))
    modes.sort(key=lambda mode: -mode[0])
    total = sum(mode[0] for mode in modes)
    modes = modes[:count]
    print(f"{count} modes hold {sum(m[0] for m in modes) / total:.2%} of the variance")
    return mean, np.stack([m[2] for m in modes]), np.array([m[1] for m in modes])


def align_heads(samples: np.ndarray, front: np.ndarray, rounds: int = 3) -> np.ndarray:
    reference = samples[0].copy()
    size = np.linalg.norm(samples[:, front] - samples[:, front].mean(1, keepdims=True), axis=2).mean()
    aligned = samples
    for _ in range(rounds):
        aligned = np.empty_like(samples)
        for index, head in enumerate(samples):
            scale, rotation, shift = fit_similarity(head[front], reference[front])
            aligned[index] = scale * head @ rotation.T + shift
        reference = aligned.mean(0)
        spread = np.linalg.norm(reference[front] - reference[front].mean(0), axis=1).mean()
        reference *= size / spread  # keep the metric size of the average head
    return aligned


def mirror_name(name: str) -> str:
    """ARKit name of the mirrored action: jawLeft becomes jawRight, eyeBlinkLeft eyeBlinkRight."""
    if "Left" in name:
        return name.replace("Left", "Right")
    return name.replace("Right", "Left")


def build(identities: int, skins: int, texture_size: int, seed: int) -> MorphableModel:
    table = json.loads(LANDMARKS.read_text())
    landmarks = np.array(table["head_vertex"])
    heads = AnnyHeads()
    assembly = HeadAssembly(heads, landmarks)
    rng = np.random.default_rng(seed)
    samples = []
    for start in range(0, identities, 50):
        batch = heads.vertices(*heads.sample(rng, min(50, identities - start)))
        samples += [assembly.assemble(head) for head in batch]
    samples = np.stack(samples)
    front = assembly.renumber[assembly.front]
    aligned = align_heads(samples, front)
    flip = np.array([-1.0, 1.0, 1.0])
    mirrored = aligned[:, assembly.mirror] * flip
    weights = np.repeat(np.where(np.isin(np.arange(assembly.count), front), 1.0, 0.5), 3)
    mean, basis, parity = principal_components(
        aligned.reshape(len(aligned), -1), mirrored.reshape(len(aligned), -1), 80, weights
    )
    mean = mean.reshape(-1, 3)
    eyes = 0.5 * sum(mean[assembly.slices[name]].mean(0) for name in ("eye_left", "eye_right"))
    mean = mean - eyes * [1, 1, 0]

    names = heads.actions
    deltas = np.stack([assembly.expression(name, mean) for name in names])
    order = [names.index(mirror_name(name)) for name in names]
    deltas = 0.5 * (deltas + deltas[order][:, assembly.mirror] * flip)
    region, triangles = assembly.region, assembly.triangles
    uv, triangles_uv = texture_layout(mean, triangles, region, assembly.dome, assembly.teeth_grid)
    candidates = [assembly.renumber[table["jaw_contour_candidates"][str(k)]] for k in range(17)]
    width = max(map(len, candidates))
    contour = np.stack([np.concatenate((c, np.repeat(c[:1], width - len(c)))) for c in candidates])

    occlusion = ambient_occlusion(mean, triangles)
    for name, value in MOUTH_LIGHT.items():
        occlusion[region == REGIONS.index(name)] = value

    model = MorphableModel(
        vertex_count=assembly.count,
        triangle_count=len(triangles),
        texture_coordinate_count=len(uv),
        texture_size=texture_size,
        contour_candidates=width,
        expression_names=names,
    )
    for name, value in (
        ("mean_vertices", mean),
        ("identity_basis", basis.reshape(80, -1, 3)),
        ("expression_basis", deltas),
        ("identity_mirror", parity),
        ("expression_mirror", order),
        ("mirror_vertices", assembly.mirror),
        ("triangles", triangles),
        ("triangles_uv", triangles_uv),
        ("uv", uv),
        ("region", region),
        ("landmark_vertices", assembly.landmark_vertices),
        ("contour_vertices", contour),
        ("contour_directions", table["jaw_outward_xz"]),
        ("ambient_occlusion", occlusion),
    ):
        getattr(model, name).copy_(torch.as_tensor(np.asarray(value)))
    add_albedo(model, skins, seed)
    return model


def add_albedo(model: MorphableModel, skins: int, seed: int) -> None:
    """Albedo modes: principal components of painted skins without hair (sRGB textures)."""
    size = model.config.texture_size
    painter = SkinPainter(model, size)
    generator = torch.Generator().manual_seed(seed)
    textures = torch.cat([painter.sample(50, generator).albedo for _ in range(0, skins, 50)])
    textures = linear_to_srgb(textures).numpy()
    flat = textures.reshape(len(textures), -1)
    mirrored = painter.mirror(torch.from_numpy(textures)).numpy().reshape(len(textures), -1)
    mean, basis, parity = principal_components(
        flat, mirrored, model.config.albedo_count, np.ones(flat.shape[1])
    )
    model.mean_albedo.copy_(torch.from_numpy(mean.reshape(3, size, size)))
    model.albedo_basis.copy_(torch.from_numpy(basis.reshape(-1, 3, size, size)))
    model.albedo_mirror.copy_(torch.from_numpy(parity))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="hub/rec-aug-net/morphable_model")
    parser.add_argument("--identities", type=int, default=1600)
    parser.add_argument("--skins", type=int, default=2000)
    parser.add_argument("--texture_size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    model = build(options.identities, options.skins, options.texture_size, options.seed)
    folder = save_model(model, options.output)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(f"saved {size / 1e6:.1f} MB to {folder}")


if __name__ == "__main__":
    main()
