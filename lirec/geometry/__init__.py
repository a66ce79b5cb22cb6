"""Pure geometry of faces: rotations, camera, meshes, rasterizer, light, renderer, registration.

No files, no networks, no global state. These conventions hold in all of lirec:

**Units.** Metres, radians, pixels; float32.

**Pictures** are RGB, (B, 3, H, W), sRGB in [0, 1] unless they are called linear. x runs right and y down, and
the first pixel's centre is at (0.5, 0.5): `grid_sample(align_corners=False)`.

**Face frame** as in glTF, right-handed: +x to the picture's right in a frontal view, +y up, +z out of the
face; the origin is near the middle between the eyes. Triangles are counter-clockwise seen from outside.

**Camera frame** as in OpenCV, right-handed: +x right, +y down, +z away from the camera.

**Pose.** `x_camera = R @ x_face + t`. The Euler angles (pitch, yaw, roll) are right-handed turns about the
face frame's x, y and z: `E = Rz(roll) @ Rx(pitch) @ Ry(yaw)` and `R = diag(1, -1, -1) @ E`, so that a face
with zero angles looks straight into the camera. Yaw > 0: the nose goes to the picture's right; pitch > 0: the
nose goes down; roll > 0: the head turns counter-clockwise in the picture.

**Camera.** A pinhole: `(x, y, 1) ~ K @ x_camera`, with K in the pixels of the picture that it belongs to.

**Light** is nine spherical harmonics a channel, (B, 9, 3), on camera-frame normals. Order and normalisation
are those of Ramamoorthi and Hanrahan: Y00, Y1-1 (y), Y10 (z), Y11 (x), Y2-2 (xy), Y2-1 (yz), Y20 (3z²-1), Y21
(xz), Y22 (x²-y²), with the factors 0.282095, 0.488603, 1.092548, 0.315392, 0.546274. The coefficients are of
irradiance/π itself: shading is the plain sum of coefficient times harmonic.

**Colour.** Albedo and light are linear RGB: `picture = linear_to_srgb(clamp(albedo * shading, 0, 1))`.

**UV** coordinates are in [0, 1], with v = 0 at the top row of the texture.

**Landmarks** are the 68 of iBUG, (B, 68, 2) pixels.
"""

from lirec.geometry.camera import intrinsics, project
from lirec.geometry.lighting import (
    directional_light,
    fit_light,
    linear_to_srgb,
    shade,
    spherical_harmonics,
    srgb_to_linear,
)
from lirec.geometry.mesh import loop_subdivide, triangle_normals, vertex_normals
from lirec.geometry.rasterizer import Fragments, interpolate, rasterize
from lirec.geometry.registration import (
    IcpResult,
    Similarity,
    icp,
    point_to_surface_distance,
    similarity_align,
)
from lirec.geometry.rendering import RenderOutput, render
from lirec.geometry.rotation import euler_to_matrix, matrix_to_euler, rotation_angle

__all__ = [
    "Fragments",
    "IcpResult",
    "RenderOutput",
    "Similarity",
    "directional_light",
    "euler_to_matrix",
    "fit_light",
    "icp",
    "interpolate",
    "intrinsics",
    "linear_to_srgb",
    "loop_subdivide",
    "matrix_to_euler",
    "point_to_surface_distance",
    "project",
    "rasterize",
    "render",
    "rotation_angle",
    "shade",
    "similarity_align",
    "spherical_harmonics",
    "srgb_to_linear",
    "triangle_normals",
    "vertex_normals",
]
