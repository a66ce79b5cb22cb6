"""The tab in which a driving video, or sliders, move the face in a photo."""

from __future__ import annotations

import html
import itertools
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import spaces

from app_reenactment import HEAD, WHOLE, Sitter, connect_source, source_column, video_part
from app_shared import EXPRESSIONS, KEPT_SECONDS, ZERO_GPU, expression_sliders, reenactment_pipeline
from lirec import LirecError

if TYPE_CHECKING:
    import numpy as np

    from lirec.pipelines.portrait import Portrait
    from lirec.pipelines.reconstruction import Face

PARTS = [("Head", "pose"), ("Brows, cheeks, nose", "expression"), ("Eyes", "eyes"), ("Mouth", "mouth")]


# Names that `DCNetPipeline.edit` knows.
HEAD_SLIDERS = {  # label, least, most
    "yaw": ("Turn", -45, 45),
    "pitch": ("Nod", -30, 30),
    "roll": ("Tilt", -30, 30),
    "gaze_x": ("Look across", -25, 25),
    "gaze_y": ("Look up", -20, 16),
}
SLIDERS = [*HEAD_SLIDERS, *EXPRESSIONS]
MESH_TEXTURE = 512  # texels of the mesh beside the sliders
MESH_FILES = 3  # written in turn: Gradio may still be reading one when the next is drawn
CLOSE_UP = 640  # px


# What may need a GPU --------------------------------------------------------------------------------------------------


@spaces.GPU(duration=15)
def edit_face(
    face: Face, portrait: Portrait | None, values: dict[str, float]
) -> tuple[Portrait | None, np.ndarray, Face]:
    """What further edits begin with, the changed photo, and the changed face."""
    pipeline = reenactment_pipeline()
    if portrait is None:
        portrait = pipeline.prepare(face.image, box=face.box, most=1024)
    edited = pipeline.edit(portrait, **values)
    return None if ZERO_GPU else portrait, edited.image, edited.face  # what is on a GPU there cannot be kept


# What a visitor has ---------------------------------------------------------------------------------------------------


class EditedSitter(Sitter):
    """With what edits of the face begin with, and its mesh as a file, gone when this object is."""

    def __init__(self, face: Face, photo: str):
        from lirec.pipelines.editing import gaze_of

        super().__init__(face, photo)
        gaze = gaze_of(face.expression, face.expression_names)
        own = dict.fromkeys(HEAD_SLIDERS, 0.0) | dict(zip(("gaze_x", "gaze_y"), gaze, strict=True))
        own |= dict(zip(face.expression_names, map(float, face.expression), strict=True))
        self.own = {name: round(own[name], 2 if name in face.expression_names else 0) for name in SLIDERS}
        self.key = f"{photo} {[round(float(edge)) for edge in face.box]}"  # the same for the same face of a photo
        self._portrait = self._mesh = self._drawn = None
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="lirec-", ignore_cleanup_errors=True)
        folders = [Path(self._folder.name) / str(i) for i in range(MESH_FILES)]
        for folder in folders:
            folder.mkdir()
        self._paths = itertools.cycle(folder / "face.glb" for folder in folders)

    def edit(self, values: dict[str, float], whole: bool, key: str | None) -> tuple[np.ndarray, str] | None:
        """The photo, or its part round the head, and the path of the mesh, with values that are not the photo's own.

        None when the values are not meant for the face of this key, or when that is what the last call drew: Gradio's
        viewer stays empty when the same mesh comes twice.
        """
        if key != self.key:
            return None
        with self._lock:
            if (values, whole) == self._drawn:
                return None
            result = self._draw(values, whole)
            self._drawn = values, whole
        return result

    def _draw(self, values: dict[str, float], whole: bool) -> tuple[np.ndarray, str]:
        from lirec.processing.mesh_export import export_mesh

        changed = {name: value for name, value in values.items() if abs(value - self.own[name]) > 1e-3}
        self._portrait, image, face = edit_face(self.face, self._portrait, changed)
        if self._mesh is None:
            self._mesh = self.face.mesh(MESH_TEXTURE)
        turn = (face.rotation * [[1], [-1], [-1]]).T  # from the face frame to the picture's, y up and z to the viewer
        mesh = replace(
            self._mesh,
            vertices=self._mesh.vertices @ turn,
            morph_targets=self._mesh.morph_targets @ turn,
            morph_weights=face.expression,
        )
        path = export_mesh(next(self._paths), mesh, unlit=True)
        return image if whole else replace(self.face, image=image).close_up(CLOSE_UP).image, str(path)


# The tab --------------------------------------------------------------------------------------------------------------


def reenactment_tab() -> None:
    """A photo's face does what a driving video's does, or what sliders say."""
    sitter = gr.State(time_to_live=KEPT_SECONDS)
    editing = gr.State(False)  # whether the sliders are in view
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            photo, picker = source_column()
        with gr.Column(scale=7, min_width=320), gr.Tabs():
            with gr.Tab("With a video", id="video") as by_video:
                video_part(photo, sitter, EditedSitter, _video_options)
            with gr.Tab("With sliders", id="sliders") as by_sliders:
                whose, sliders, edited = _slider_part(sitter, editing)

    def seat(face: Face | None, path: str | None) -> dict:
        """Another face: its own values on the sliders, and nothing drawn of it yet."""
        chosen = EditedSitter(face, path) if face else None
        own = chosen.own if chosen else dict.fromkeys(SLIDERS, 0.0)
        values = {slider: gr.update(value=own[name]) for name, slider in sliders.items()}
        return {sitter: chosen, whose: chosen and chosen.key, **values, **dict.fromkeys(edited, None)}

    connect_source(photo, picker, seat, [sitter, whose, *sliders.values(), *edited])
    by_video.select(lambda: False, None, editing, api_name=False, show_progress="hidden")
    by_sliders.select(lambda: True, None, editing, api_name=False, show_progress="hidden")


def _video_options() -> dict:
    return {
        "motion": gr.Radio(
            [("Relative", "relative"), ("Absolute", "absolute")],
            value="relative",
            label="Motion",
            info="Relative adds what the driver changes to the photo's own expression and pose; absolute takes "
            "over the driver's.",
        ),
        "strength": gr.Slider(0, 2, 1, step=0.05, label="Strength", info="Of relative motion; 1 is the driver's"),
        "move": gr.CheckboxGroup(PARTS, value=[part for _, part in PARTS], label="What moves"),
    }


def _slider_part(sitter: gr.State, editing: gr.State) -> tuple[gr.Textbox, dict[str, gr.Slider], list]:
    """The key of the face whose values the sliders have, the sliders by name, and what is drawn as they say."""
    # Beside the sliders in the browser, which learns of another face later than the sitter here is another.
    whose = gr.Textbox(visible=False)
    resets = gr.State(0)
    with gr.Row():
        image = gr.Image(
            label="Photo", format="png", height=380, min_width=260, interactive=False,
            buttons=["download", "fullscreen"], elem_id="edited",
        )  # fmt: skip
        mesh = gr.Model3D(label="3D face: drag to turn", height=380, interactive=False, elem_id="edited-mesh")
    with gr.Row(elem_id="edit-actions"):
        frame = gr.Radio([HEAD, WHOLE], value=HEAD, show_label=False, container=False, min_width=340, elem_id="view")
        reset = gr.Button("Back to the photo", size="md", min_width=120, elem_id="reset")
        download = gr.DownloadButton("↓ GLB", size="md", min_width=80, elem_id="download-edited")
    sliders = {}
    with gr.Column(elem_id="sliders"):
        with gr.Accordion("Head and gaze"), gr.Row():
            for name, (label, least, most) in HEAD_SLIDERS.items():
                sliders[name] = gr.Slider(
                    least, most, 0, step=1, label=label, min_width=130, buttons=[], elem_id=f"slider-{name}"
                )
        sliders |= expression_sliders("slider-")

    def draw(chosen: EditedSitter | None, in_view: bool, key: str | None, frame: str, *values: float) -> dict:
        if chosen is None or not in_view:
            return {image: gr.skip()}
        try:
            drawn = chosen.edit(dict(zip(sliders, values, strict=True)), frame == WHOLE, key)
        except LirecError as error:
            gr.Warning(html.escape(str(error)))
            drawn = None
        return {image: gr.skip()} if drawn is None else dict(zip(outputs, (*drawn, drawn[1]), strict=True))

    def back(chosen: EditedSitter | None, count: int) -> list:
        return [count + 1, *(chosen.own[name] if chosen else 0 for name in sliders)]

    outputs = [image, mesh, download]
    # One event for all that changes the picture: of several, an older picture could come last, or the newest not at
    # all. A state's change comes when the sliders that were set with it are set.
    gr.on(
        [sitter.change, editing.change, resets.change, frame.input, *(slider.input for slider in sliders.values())],
        draw, [sitter, editing, whose, frame, *sliders.values()], outputs, api_name=False, concurrency_limit=2,
        show_progress_on=image, trigger_mode="always_last",
    )  # fmt: skip
    reset.click(back, [sitter, resets], [resets, *sliders.values()], api_name=False, show_progress="hidden")
    return whose, sliders, outputs
