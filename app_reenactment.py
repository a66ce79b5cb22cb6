"""What the tabs share that move a photo: whose face moves, and the making of a video from check to download."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import spaces

from app_shared import (
    HERE,
    KEPT_SECONDS,
    NO_PICTURE,
    face_picker,
    faces_of,
    landmark_pipeline,
    photo_input,
    reenactment_pipeline,
    shown_in_picker,
)
from lirec import LirecError, wording

if TYPE_CHECKING:
    from lirec.pipelines.reconstruction import Face
    from lirec.pipelines.reenactment import Progress, VideoReenactmentOutput
    from lirec.pipelines.survey import DrivingReport

PHOTOS = ("astronaut", "rendered_long_hair", "rendered_beard", "rendered_four")
DRIVERS = ("talking", "looking_around", "smiling")

NO_DRIVER = "There is no driving video yet: upload one, record one, or click on an example."
WHOLE, HEAD = "The whole photo", "The head only"


# What may need a GPU --------------------------------------------------------------------------------------------------


@spaces.GPU(duration=30)
def check_driving(path: str, by_landmarks: bool = False) -> DrivingReport:
    return (landmark_pipeline() if by_landmarks else reenactment_pipeline()).check(path)


@spaces.GPU(duration=180)
def drive(
    by_landmarks: bool, face: Face, driving: str, output: str, stop: str, settings: dict, progress: gr.Progress
) -> VideoReenactmentOutput:
    """Write the video; ends early, and keeps what is finished, when there is a file named `stop`."""

    def tell(step: Progress) -> bool:
        progress((step.done, step.total), desc=progress_text(step), unit="frames")
        return not Path(stop).exists()

    write = landmark_pipeline().animate if by_landmarks else reenactment_pipeline()
    return write(face.image, driving, output, box=face.box, callback=tell, **settings)


# Words ----------------------------------------------------------------------------------------------------------------


def progress_text(step: Progress) -> str:
    """How far the work is, and how long it will take."""
    done = f"Frame {step.done}" if step.total is None else f"Frame {step.done} of {step.total}"
    return done if step.seconds_left is None else f"{done}, {wording.duration(step.seconds_left)} left"


def said(error: LirecError, path: str) -> str:
    """An error in the words of someone who knows no folders here."""
    return html.escape(str(error).replace(path, Path(path).name))


def listed(sentences: list[str]) -> str:
    """Sentences as a list in Markdown."""
    return "\n".join(f"- {html.escape(sentence)}" for sentence in sentences)


def _summary(made: VideoReenactmentOutput) -> list[str]:
    length = float(made.frame_count / made.frame_rate)
    ending = "" if made.finished else " It was stopped there: what was finished is kept."
    result = [f"{made.frame_count} frames, {length:.1f} s of video, made in {wording.duration(made.seconds)}.{ending}"]
    if made.held:
        result.append(f"No face was seen at {wording.moments(made.held)}: the last motion is held there.")
    if made.cuts:
        result.append(f"The driving video cuts to another scene at {wording.moments(made.cuts)}.")
    return result


# Whose face moves -----------------------------------------------------------------------------------------------------


class Sitter:
    """A face of an uploaded photo, and the file that it was uploaded as."""

    def __init__(self, face: Face, photo: str):
        self.face, self.photo = face, photo


def source_column(prefix: str = "") -> tuple[gr.Image, gr.Gallery]:
    """Where the photo goes, and its faces, if there are several, are chosen from; ids begin with `prefix`."""
    photo = photo_input(label="Photo", height=340, elem_id=f"{prefix}source")
    picker = face_picker(f"{prefix}source-picker")
    gr.Examples(
        [[str(HERE / "examples" / f"{name}.jpg")] for name in PHOTOS],
        photo,
        label="Or try one of these",
        cache_examples=False,
        elem_id=f"{prefix}source-examples",
    )
    return photo, picker


def connect_source(
    photo: gr.Image, picker: gr.Gallery, seat: Callable[[Face | None, str | None], dict], outputs: list
) -> None:
    """
    Look for faces in every new photo.

    Args:
        photo, picker: of `source_column`.
        seat: what becomes of the `outputs` when a face of a photo is chosen, or there is none.
    """
    found = gr.State(time_to_live=KEPT_SECONDS)

    def look(path: str | None) -> dict:
        faces = [] if path is None else faces_of(path)
        return {found: faces, picker: shown_in_picker(faces), **seat(faces[0] if faces else None, path)}

    def choose(faces: list | None, path: str | None, event: gr.SelectData) -> dict:
        return seat(faces[event.index], path) if faces else {found: gr.skip()}

    every = {"outputs": [found, picker, *outputs], "api_name": False}
    photo.change(look, photo, **every, trigger_mode="always_last", show_progress_on=photo, concurrency_limit=2)
    picker.select(choose, [found, photo], **every, show_progress="hidden")


# A video --------------------------------------------------------------------------------------------------------------


class VideoFiles:
    """A video in the making and finished, in a folder that goes when this object does."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="lirec-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        self.result, self.side_by_side, self.stop = folder / "result.mp4", folder / "side_by_side.mp4", folder / "stop"

    def put_side_by_side(self, driving: str) -> bool:
        """Show the driver beside the result; a warning and False where that cannot be done."""
        from lirec.processing.comparison import side_by_side

        try:
            side_by_side(driving, self.result, self.side_by_side)
        except LirecError as error:
            gr.Warning(said(error, driving))
            return False
        return True


def video_part(
    photo: gr.Image,
    sitter: gr.State,
    sit: Callable[[Face, str], Sitter],
    options: Callable[[], dict],
    by_landmarks: bool = False,
    prefix: str = "",
) -> None:
    """
    Lay out what makes a video of a photo.

    Args:
        photo: of `source_column`.
        sitter: the face that moves, a `Sitter`, or None.
        sit: makes one.
        options: lays out inputs and names the settings of the pipeline that they are.
        by_landmarks: whether LI-Net draws, not DCNet.
        prefix: of the ids.
    """
    files = gr.State(time_to_live=KEPT_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            driving = gr.Video(
                label="Driving video", sources=["upload", "webcam"], height=320, include_audio=True,
                elem_id=f"{prefix}driving",
            )  # fmt: skip
            gr.Examples(
                [[str(HERE / "examples" / f"{name}.mp4")] for name in DRIVERS],
                driving,
                label="Or try one of these",
                cache_examples=False,
                elem_id=f"{prefix}driving-examples",
            )
        with gr.Column(min_width=280):
            report = gr.Markdown(
                "The driving video is looked at before it is used; what is found is said here.",
                container=True,
                min_height=120,
                elem_id=f"{prefix}report",
            )
            with gr.Accordion("Options", open=False, elem_id=f"{prefix}options"):
                settings = options() | {
                    "smoothing": gr.Checkbox(True, label="Take out trembling"),
                    "paste": gr.Radio([(WHOLE, True), (HEAD, False)], value=True, label="Show"),
                }
            start = gr.Button("Make the video", variant="primary", size="lg", elem_id=f"{prefix}drive")
            stop = gr.Button(
                "Stop, and keep what is finished", variant="stop", visible=False, elem_id=f"{prefix}stop"
            )
    with gr.Column(visible=False) as below:
        result = gr.Video(
            label="Driver and result", height=380, autoplay=True, interactive=False, buttons=["download"],
            elem_id=f"{prefix}result",
        )  # fmt: skip
        summary = gr.Markdown(elem_id=f"{prefix}summary")
        with gr.Row(visible=False) as row:
            downloads = [
                gr.DownloadButton(f"↓ {label}", size="md", elem_id=f"download-{prefix}{name}")
                for label, name in (("Result (MP4)", "result"), ("Side by side (MP4)", "side-by-side"))
            ]

    def check(path: str | None) -> str:
        if path is None:
            return "There is no driving video."
        try:
            return listed(check_driving(path, by_landmarks).sentences)
        except LirecError as error:
            return listed([said(error, path)])

    def begin(source: str | None, path: str | None, chosen: Sitter | None) -> dict:
        if source is None or path is None:
            gr.Warning(NO_PICTURE if source is None else NO_DRIVER)
            return {files: None}
        if chosen is None or chosen.photo != source:  # not looked at yet
            faces = faces_of(source)
            if not faces:
                return {files: None}
            chosen = sit(faces[0], source)
        shown, hidden = gr.update(visible=True), gr.update(visible=False)
        return {files: VideoFiles(), sitter: chosen, start: hidden, stop: shown, below: shown, result: None,
                summary: "", row: hidden}  # fmt: skip

    def make(path, chosen, kept, progress=gr.Progress(), *values):  # noqa: B008
        if kept is None:
            return {summary: gr.skip()}
        progress(0, desc="Looking at the photo and the video")
        wanted = dict(zip(settings, values, strict=True))
        try:
            made = drive(by_landmarks, chosen.face, path, str(kept.result), str(kept.stop), wanted, progress)
        except LirecError as error:
            gr.Warning(said(error, path))
            return {summary: listed([said(error, path)])}
        progress(1, desc="Putting both side by side")
        shown = kept.side_by_side if kept.put_side_by_side(path) else made.path
        links = str(made.path), gr.update(value=str(shown), visible=shown == kept.side_by_side)
        return {result: str(shown), summary: listed(_summary(made)), row: gr.update(visible=True),
                **dict(zip(downloads, links, strict=True))}  # fmt: skip

    def end() -> tuple:
        return gr.update(visible=True), gr.update(visible=False)

    def halt(kept: VideoFiles | None) -> None:
        if kept is not None:
            kept.stop.touch()

    driving.change(check, driving, report, api_name=False, trigger_mode="always_last", concurrency_limit=2)
    start.click(
        begin, [photo, driving, sitter], [files, sitter, start, stop, below, result, summary, row], api_name=False,
        show_progress="hidden",
    ).then(
        make, [driving, sitter, files, *settings.values()], [result, summary, row, *downloads], api_name=False,
        show_progress_on=result, concurrency_limit=2,
    ).then(end, None, [start, stop], api_name=False, show_progress="hidden")  # fmt: skip
    stop.click(halt, files, None, api_name=False, queue=False, show_progress="hidden")
