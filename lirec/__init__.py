"""lirec: a photo becomes a 3D face, and a face in a photo moves like another face.

>>> from lirec import RecAugNetPipeline
>>> pipeline = RecAugNetPipeline.from_pretrained("hub/rec-aug-net")
>>> face = pipeline("photo.jpg").faces[0]
>>> face.save("face.glb")
>>> pipeline.capture("video.mp4").save("take.glb")
>>> from lirec import DCNetPipeline
>>> DCNetPipeline.from_pretrained("hub/dc-net")("photo.jpg", "driver.mp4", output="out.mp4")
>>> from lirec import LINetPipeline
>>> picture = LINetPipeline.from_pretrained("hub/li-net")("photo.jpg", "driver.jpg").image
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from lirec.errors import LirecError

if TYPE_CHECKING:
    from lirec.pipelines.landmark_reenactment import LINetPipeline
    from lirec.pipelines.reconstruction import RecAugNetPipeline
    from lirec.pipelines.video_reenactment import DCNetPipeline

__version__ = "0.1.0"
__all__ = ["DCNetPipeline", "LINetPipeline", "LirecError", "RecAugNetPipeline"]

# Imported at first use, so that geometry, say, loads without diffusers and face-alignment.
_MODULE_OF = {
    "DCNetPipeline": "lirec.pipelines.video_reenactment",
    "LINetPipeline": "lirec.pipelines.landmark_reenactment",
    "RecAugNetPipeline": "lirec.pipelines.reconstruction",
}


def __getattr__(name: str):
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'lirec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
