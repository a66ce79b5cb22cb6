"""The tab in which a driver's landmarks move the face in a photo, step by step."""

from __future__ import annotations

import html
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import spaces

from app_reenactment import Sitter, connect_source, source_column, video_part
from app_shared import HERE, KEPT_SECONDS, NO_PICTURE, faces_of, landmark_pipeline, photo_input
from lirec import LirecError

if TYPE_CHECKING:
    from lirec.pipelines.landmark_reenactment import LINetOutput
    from lirec.pipelines.reconstruction import Face

DRIVERS = ("rendered_open_mouth", "rendered_beard", "rendered_long_hair", "astronaut")
PREFIX = "landmark-"
NO_DRIVER = "There is no driving picture yet: upload one, take one, or click on an example."
TRANSFORM = {
    "label": "Keep the photo's own proportions",
    "info": "The landmark transformer; without it the face takes on the driver's shape.",
}


@spaces.GPU(duration=15)
def reenact(face: Face, driving: bytes, transform: bool) -> LINetOutput:
    return landmark_pipeline()(face.image, driving, box=face.box, transform=transform)


class PictureFile:
    """A finished picture as a file, in a folder that goes when this object does."""

    def __init__(self, picture):
        from PIL import Image

        self._folder = tempfile.TemporaryDirectory(prefix="lirec-", ignore_cleanup_errors=True)
        self.path = str(Path(self._folder.name) / "result.png")
        Image.fromarray(picture).save(self.path)


def landmark_tab() -> None:
    """A photo's face gets the pose and expression of a driver, with its own identity."""
    sitter = gr.State(time_to_live=KEPT_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            photo, picker = source_column(PREFIX)
        with gr.Column(scale=7, min_width=320), gr.Tabs():
            with gr.Tab("With a picture"):
                drawn = _picture_part(photo, sitter)
            with gr.Tab("With a video"):
                video_part(photo, sitter, Sitter, _video_options, by_landmarks=True, prefix=PREFIX)

    def seat(face: Face | None, path: str | None) -> dict:
        return {sitter: Sitter(face, path) if face else None, **dict.fromkeys(drawn, None)}

    connect_source(photo, picker, seat, [sitter, *drawn])


def _video_options() -> dict:
    return {"transform": gr.Checkbox(True, **TRANSFORM)}


def _picture_part(photo: gr.Image, sitter: gr.State) -> list:
    """What is drawn of the face in the photo."""
    file = gr.State(time_to_live=KEPT_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=260):
            driving = photo_input(label="Driving picture", height=320, elem_id=f"{PREFIX}driver")
            gr.Examples(
                [[str(HERE / "examples" / f"{name}.jpg")] for name in DRIVERS],
                driving,
                label="Or try one of these",
                cache_examples=False,
                elem_id=f"{PREFIX}driver-examples",
            )
        with gr.Column(min_width=260):
            slider = gr.ImageSlider(
                label="Before and after", format="png", height=320, interactive=False, buttons=["fullscreen"],
                elem_id=f"{PREFIX}slider",
            )  # fmt: skip
            transform = gr.Checkbox(True, **TRANSFORM, elem_id=f"{PREFIX}transform")
            start = gr.Button("Move the face", variant="primary", size="lg", elem_id=f"{PREFIX}start")
    steps = gr.Gallery(
        label="Step by step", columns=5, height=210, object_fit="contain", format="png", interactive=False,
        elem_id=f"{PREFIX}steps",
    )  # fmt: skip
    with gr.Row(equal_height=False):
        result = gr.Image(
            label="The whole photo", format="png", height=360, interactive=False, buttons=["fullscreen"],
            elem_id=f"{PREFIX}whole",
        )  # fmt: skip
    download = gr.DownloadButton("↓ Result (PNG)", size="md", elem_id=f"download-{PREFIX}picture")
    drawn = [slider, steps, result, download, file]

    def draw(chosen: Sitter | None, path: str | None, transform: bool) -> dict:
        if chosen is None or path is None:
            return {file: gr.skip()}
        try:
            made = reenact(chosen.face, Path(path).read_bytes(), transform)
        except LirecError as error:
            gr.Warning(html.escape(str(error)))
            return {file: gr.skip()}
        kept = PictureFile(made.image)
        return {slider: (made.source, made.crop), steps: made.steps(), result: made.image, download: kept.path,
                file: kept}  # fmt: skip

    def ask(source: str | None, path: str | None, chosen: Sitter | None) -> None:
        if source is None or path is None:
            gr.Warning(NO_PICTURE if source is None else NO_DRIVER)
        elif chosen is None:
            faces_of(source)  # says what is wrong with it

    # One event for all that changes the result: of several, an older result could come last, or the newest not at all.
    gr.on(
        [sitter.change, driving.change, transform.input, start.click],
        draw, [sitter, driving, transform], drawn, api_name=False, concurrency_limit=2, show_progress_on=slider,
        trigger_mode="always_last",
    )  # fmt: skip
    start.click(ask, [photo, driving, sitter], None, api_name=False, show_progress="hidden")
    return drawn
