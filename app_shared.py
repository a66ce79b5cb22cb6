"""What the app's tabs share: the pipelines, loaded once, and how photos and their faces are chosen."""

from __future__ import annotations

import functools
import html
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import spaces

from lirec import LirecError

# torch and what needs it is imported where it is used: the first page need not wait for it.
if TYPE_CHECKING:
    import numpy as np

    from lirec import DCNetPipeline, LINetPipeline, RecAugNetPipeline
    from lirec.pipelines.reconstruction import Face

HERE = Path(__file__).resolve().parent
# Folders, or ids on the Hub.
WEIGHTS = os.environ.get("LIREC_WEIGHTS") or HERE / "hub" / "rec-aug-net"
LI_NET_WEIGHTS = os.environ.get("LIREC_LI_NET_WEIGHTS") or HERE / "hub" / "li-net"
DC_NET_WEIGHTS = os.environ.get("LIREC_DC_NET_WEIGHTS") or HERE / "hub" / "dc-net"
ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))
LONGEST_EDGE = 2048  # px; larger photos are shrunk: a face's texture has no more pixels
KEPT_SECONDS = 1800  # what visitors gave and got is deleted after this time

NO_PICTURE = "There is no picture yet: upload a photo, take one, or click on an example."
NO_FACE = "No face was found in this picture: try one in which a face is larger and seen from the front."

def _both(*names: str) -> list[str]:
    return [name + side for name in names for side in ("Left", "Right")]


# The expressions by what they move.
EXPRESSION_GROUPS = {
    "Jaw and mouth": [
        "jawOpen", "mouthClose", *_both("mouthSmile", "mouthFrown"), "mouthPucker", "mouthFunnel",
        *_both("mouthUpperUp", "mouthLowerDown", "mouthStretch", "mouthDimple", "mouthPress"),
        "mouthRollUpper", "mouthRollLower", "mouthShrugUpper", "mouthShrugLower", "mouthLeft", "mouthRight",
        "jawLeft", "jawRight", "jawForward",
    ],
    "Eyes": _both(
        "eyeBlink", "eyeWide", "eyeSquint", "eyeLookUp", "eyeLookDown", "eyeLookIn", "eyeLookOut",
    ),
    "Brows, cheeks and nose": [
        "browInnerUp", *_both("browOuterUp", "browDown"), "cheekPuff", *_both("cheekSquint", "noseSneer"),
    ],
}  # fmt: skip
EXPRESSIONS = [name for names in EXPRESSION_GROUPS.values() for name in names]

_loading = threading.RLock()


def _loaded_once(load: Callable) -> Callable:
    load = functools.cache(load)

    @functools.wraps(load)
    def loaded():
        with _loading:
            return load()

    return loaded


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@_loaded_once
def reconstruction_pipeline() -> RecAugNetPipeline:
    """The pipeline, loaded once; a `LirecError` when its weights are not there."""
    from lirec import RecAugNetPipeline

    return RecAugNetPipeline.from_pretrained(WEIGHTS).to(_device())


@_loaded_once
def reenactment_pipeline() -> DCNetPipeline:
    """The pipeline, loaded once, with `reconstruction_pipeline`; a `LirecError` when weights are not there."""
    from lirec import DCNetPipeline

    return DCNetPipeline.from_pretrained(DC_NET_WEIGHTS, reconstruction=reconstruction_pipeline()).to(_device())


@_loaded_once
def landmark_pipeline() -> LINetPipeline:
    """The pipeline, loaded once, with `reconstruction_pipeline`; a `LirecError` when weights are not there."""
    from lirec import LINetPipeline

    return LINetPipeline.from_pretrained(LI_NET_WEIGHTS, reconstruction=reconstruction_pipeline()).to(_device())


@spaces.GPU(duration=15)
def find_faces(image: np.ndarray) -> list[Face]:
    return reconstruction_pipeline()(image).faces


def faces_of(path: str | None) -> list[Face]:
    """The faces of an uploaded photo; where there is none, a warning and none."""
    from lirec.processing.image import load_image, shrink

    # Warnings and not errors: what was made before stays in view.
    if path is None:
        gr.Warning(NO_PICTURE)
        return []
    try:
        found = find_faces(shrink(load_image(Path(path).read_bytes()), LONGEST_EDGE))
    except LirecError as error:
        gr.Warning(html.escape(str(error)))
        return []
    if not found:
        gr.Warning(NO_FACE)
    return found


def expression_sliders(prefix: str) -> dict[str, gr.Slider]:
    """A slider for each of `EXPRESSIONS`, by name, laid out by what they move; ids begin with `prefix`."""
    sliders = {}
    for title, names in EXPRESSION_GROUPS.items():
        with gr.Accordion(title, open=title == "Jaw and mouth"), gr.Row():
            for name in names:
                # Without Gradio's reset: it goes to 0, which is not the photo's own value.
                sliders[name] = gr.Slider(
                    0, 1, 0, step=0.01, label=name, min_width=200, buttons=[], elem_id=f"{prefix}{name}"
                )
    return sliders


def photo_input(**settings) -> gr.Image:
    """A picture whose file is handed on as it came, so that lirec reads it, and says what is wrong with it."""
    photo = gr.Image(type="filepath", sources=["upload", "webcam", "clipboard"], **settings)
    decode = photo.preprocess  # of what is no file but text
    photo.preprocess = lambda data: data.path if data and data.path else decode(data)
    return photo


def face_picker(elem_id: str) -> gr.Gallery:
    """Where one of several faces is chosen; hidden as long as there is one only."""
    return gr.Gallery(
        label="Several faces: choose one", visible=False, columns=4, height=165, object_fit="cover",
        allow_preview=False, interactive=False, buttons=[], elem_id=elem_id, elem_classes="picker",
    )  # fmt: skip


def shown_in_picker(found: list[Face]) -> gr.Gallery:
    """The picker with these faces, the first chosen."""
    several = len(found) > 1
    thumbnails = [(face.close_up(160).image, str(i)) for i, face in enumerate(found, 1)] if several else None
    return gr.Gallery(thumbnails, visible=several, selected_index=0 if several else None)
