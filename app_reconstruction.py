"""The tab in which a photo becomes a 3D face, and a video an animated one."""

from __future__ import annotations

import html
import itertools
import tempfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import spaces

from app_reenactment import DRIVERS, listed, progress_text, said
from app_shared import (
    EXPRESSIONS,
    HERE,
    KEPT_SECONDS,
    expression_sliders,
    face_picker,
    faces_of,
    photo_input,
    reconstruction_pipeline,
    shown_in_picker,
)
from lirec import LirecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from lirec.pipelines.capture import FaceCapture
    from lirec.pipelines.reconstruction import Face
    from lirec.pipelines.reenactment import Progress
    from lirec.processing.mesh_export import MeshData

EXAMPLES = ("astronaut", "rendered_long_hair", "rendered_beard", "rendered_open_mouth", "rendered_four")
TEXTURED, CLAY = "Textured", "Clay"
# The face taken apart, as the paper's Figure 8 does.
IDENTITY, EXPRESSION, ALBEDO = "Identity only", "Expression on the mean face", "Albedo on the mean face"
STYLES = [TEXTURED, CLAY, IDENTITY, EXPRESSION, ALBEDO]
NETWORKS = {"RecAugNet": True, "RecNet": False}  # whether ETNet gives the expressions
COMPARED = 320  # px
MESH_TEXTURE = 1024  # texels
VIEWER_FILES = 3  # written in turn: Gradio may still be reading one when the next is made
NO_VIDEO = "There is no video yet: upload one, record one, or click on an example."


# What may need a GPU --------------------------------------------------------------------------------------------------


@spaces.GPU(duration=15)
def by_both_networks(face: Face) -> dict[str, Face]:
    """The same face as RecNet and RecAugNet see it, by the network's name."""
    pipeline = reconstruction_pipeline()
    return {
        name: pipeline(face.image, boxes=[face.box], augmented=augmented).faces[0]
        for name, augmented in reversed(NETWORKS.items())
    }


@spaces.GPU(duration=180)
def capture(video: str, stop: str, augmented: bool, smoothing: bool, progress: gr.Progress) -> FaceCapture:
    """Motion capture; ends early, and keeps what is finished, when there is a file named `stop`."""

    def tell(step: Progress) -> bool:
        progress((step.done, step.total), desc=progress_text(step), unit="frames")
        return not Path(stop).exists()

    return reconstruction_pipeline().capture(video, augmented=augmented, smoothing=smoothing, callback=tell)


# What a visitor has ---------------------------------------------------------------------------------------------------


class FaceFiles:
    """A face as files, in a folder that goes when this object does."""

    def __init__(self, face: Face):
        from lirec.processing.mesh_export import export_mesh

        self.face = face
        own = dict(zip(face.expression_names, map(float, face.expression), strict=True))
        self.own = {name: round(own[name], 2) for name in EXPRESSIONS}
        self._drawn = None
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="lirec-", ignore_cleanup_errors=True)
        self._path = Path(self._folder.name)
        self._views = itertools.cycle(self._path / f"view{i}.glb" for i in range(VIEWER_FILES))
        mesh = face.mesh(MESH_TEXTURE)
        self._meshes = {TEXTURED: mesh}
        for ending in ("glb", "obj", "ply"):
            export_mesh(self._path / f"face.{ending}", mesh)
        with zipfile.ZipFile(self._path / "face_obj.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for ending in ("obj", "mtl", "png"):
                archive.write(self._path / f"face.{ending}", f"face.{ending}")
        face.save(self._path / "face.json")

    def view(self, style: str, weights: Sequence[float]) -> str | None:
        """
        The file for the viewer, with the sliders' weights; the photo's own light is in the texture, clay is lit there.

        None when that is what the last call gave: Gradio's viewer stays empty when the same mesh comes twice.
        """
        from lirec.processing.mesh_export import export_mesh

        with self._lock:
            weights = dict(zip(EXPRESSIONS, weights, strict=True))
            if style in (IDENTITY, ALBEDO):
                weights = dict.fromkeys(EXPRESSIONS, 0.0)
            if (style, weights) == self._drawn:
                return None
            mesh = self._mesh(style)
            mesh = replace(mesh, morph_weights=[weights[name] for name in mesh.morph_names])
            path = export_mesh(next(self._views), mesh, unlit=style == TEXTURED)
            self._drawn = style, weights
        return str(path)

    def _mesh(self, style: str) -> MeshData:
        if style not in self._meshes:
            parts = {IDENTITY: ["identity"], EXPRESSION: ["expression"], ALBEDO: ["albedo"]}
            face = self.face.only(*parts[style]) if style in parts else self.face
            mesh = face.mesh(textured=False)
            if style == ALBEDO:
                mesh = replace(mesh, texture=face.albedo_texture(), colours=None)
            self._meshes[style] = mesh
        return self._meshes[style]

    def downloads(self) -> list[str]:
        """GLB; OBJ with its material and texture in a ZIP; PLY; coefficients as JSON."""
        return [str(self._path / name) for name in ("face.glb", "face_obj.zip", "face.ply", "face.json")]


class CaptureFiles:
    """Motion capture as files, in a folder that goes when this object does."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="lirec-", ignore_cleanup_errors=True)
        self._path = Path(self._folder.name)
        self.stop = self._path / "stop"

    def write(self, taken: FaceCapture) -> tuple[str, list[str]]:
        """The file for the viewer, and those to download: GLB, CSV, JSON."""
        from lirec.processing.mesh_export import export_mesh

        mesh = taken.mesh(MESH_TEXTURE)
        shown = export_mesh(self._path / "view.glb", mesh, unlit=True)
        files = [export_mesh(self._path / "take.glb", mesh)]
        files += [taken.save(self._path / f"take.{ending}") for ending in ("csv", "json")]
        return str(shown), [str(file) for file in files]


def expression_bars(expression: dict[str, float]) -> str:
    """One labelled bar for each coefficient in [0, 1]."""
    rows = "".join(
        f'<div class="bar" title="{html.escape(name)}: {value:.2f}"><span>{html.escape(name)}</span>'
        f'<i><b style="width:{100 * value:.0f}%"></b></i><em>{value:.2f}</em></div>'
        for name, value in expression.items()
    )
    return f"<h3>Expression: {len(expression)} ARKit blendshapes</h3><div class='bars'>{rows}</div>"


def side_by_side(face: Face) -> list[tuple[np.ndarray, str]]:
    """Pictures and captions: by each network the mesh over the photo, identity, expression and albedo alone."""
    import numpy as np

    pictures = []
    for name, seen in by_both_networks(face).items():
        seen = seen.close_up(COMPARED)
        bare = replace(seen, image=np.full_like(seen.image, 255))
        pictures += [
            (seen.overlay(1.0), f"{name}: overlay"),
            (bare.only("identity").overlay(1.0), f"{name}: identity"),
            (bare.only("expression").overlay(1.0), f"{name}: expression"),
            (seen.only("albedo").albedo_map(), f"{name}: albedo"),
        ]
    return pictures


# The tab --------------------------------------------------------------------------------------------------------------


def reconstruction_tab() -> None:
    """A photo becomes a 3D face, a video an animated one."""
    with gr.Tabs():
        with gr.Tab("From a photo"):
            _photo_part()
        with gr.Tab("From a video", elem_id="from-video"):
            _video_part()


def _photo_part() -> None:
    faces, folder = (gr.State(time_to_live=KEPT_SECONDS) for _ in range(2))
    resets = gr.State(0)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            photo = photo_input(label="Photo", height=400, elem_id="photo")
            start = gr.Button("Make it 3D", variant="primary", size="lg", elem_id="start")
            picker = face_picker("picker")
            gr.Examples(
                [[str(HERE / "examples" / f"{name}.jpg")] for name in EXAMPLES],
                photo,
                label="Or try one of these",
                cache_examples=False,
                elem_id="examples",
            )
        with gr.Column(scale=6, min_width=320):
            viewer = gr.Model3D(label="3D face: drag to turn", height=480, interactive=False, elem_id="viewer")
            with gr.Column(visible=False) as beside_photo:
                style = gr.Radio(STYLES, value=TEXTURED, show_label=False, container=False, elem_id="style")
                with gr.Row(elem_id="actions"):
                    downloads = [
                        gr.DownloadButton(f"↓ {label}", size="md", min_width=72, elem_id=f"download-{label.lower()}")
                        for label in ("GLB", "OBJ", "PLY", "JSON")
                    ]
                with gr.Row():
                    overlay, normals, albedo = (
                        gr.Image(label=label, format="png", height=230, min_width=180, interactive=False,
                                 buttons=["download", "fullscreen"], elem_id=label.lower())
                        for label in ("Overlay", "Normals", "Albedo")
                    )  # fmt: skip
    with gr.Column(visible=False) as below:
        with gr.Accordion("Move the mesh", open=False, elem_id="mesh-sliders"):
            reset = gr.Button("Back to the photo", size="md", elem_id="mesh-reset")
            sliders = list(expression_sliders("mesh-").values())
        with gr.Accordion("RecNet and RecAugNet side by side", open=False, elem_id="compare") as comparing:
            comparison = gr.Gallery(
                show_label=False, columns=4, object_fit="contain", interactive=False,
                buttons=["download", "fullscreen"], elem_id="comparison",
            )  # fmt: skip
        bars = gr.HTML(elem_id="expressions")

    sections = (beside_photo, below)
    results = (viewer, overlay, normals, albedo, bars, comparison, comparing, *downloads, *sliders)

    # Plain functions, not generators: a viewer that gets its first file twice in a row stays empty.
    def show(face: Face, style: str) -> dict:
        close_up = face.close_up()
        files = FaceFiles(face)
        own = files.own.values()
        return {
            folder: files,
            viewer: files.view(style, own),
            overlay: close_up.overlay(),
            normals: close_up.normal_map(),
            albedo: close_up.albedo_map(),
            bars: expression_bars(dict(zip(face.expression_names, face.expression, strict=True))),
            comparison: None,
            comparing: gr.Accordion(open=False),
            **dict(zip(downloads, files.downloads(), strict=True)),
            **dict(zip(sliders, own, strict=True)),
            **{section: gr.update(visible=True) for section in sections},
        }

    def reconstruct(path: str | None, style: str) -> dict:
        found = faces_of(path)
        if not found:
            return {faces: gr.skip()}
        return {faces: found, picker: shown_in_picker(found), **show(found[0], style)}

    def reconstruct_new(path: str | None, style: str) -> dict:
        return {faces: gr.skip()} if path is None else reconstruct(path, style)

    def choose(found: list | None, style: str, event: gr.SelectData) -> dict:
        return show(found[event.index], style) if found else {faces: gr.skip()}

    def redraw(files: FaceFiles | None, style: str, *weights: float):
        return (files and files.view(style, weights)) or gr.skip()

    def back(files: FaceFiles | None, count: int) -> list:
        return [count + 1, *(files.own.values() if files else [0.0] * len(sliders))]

    def compare(files: FaceFiles | None):
        return side_by_side(files.face) if files else gr.skip()

    outputs = [faces, folder, picker, *results, *sections]
    every = {"outputs": outputs, "show_progress_on": viewer, "concurrency_limit": 2}
    start.click(reconstruct, [photo, style], api_name="reconstruct", **every)
    photo.change(reconstruct_new, [photo, style], api_name=False, trigger_mode="always_last", **every)
    picker.select(choose, [faces, style], api_name=False, **every)
    # One event for all that changes the mesh: of several, an older mesh could come last, or the newest not at all.
    # Another face comes with its mesh, which is drawn anew only if a slider was moved meanwhile.
    gr.on(
        [folder.change, resets.change, style.change, *(slider.input for slider in sliders)],
        redraw, [folder, style, *sliders], viewer, api_name=False, show_progress="hidden", trigger_mode="always_last",
    )  # fmt: skip
    reset.click(back, [folder, resets], [resets, *sliders], api_name=False, show_progress="hidden")
    comparing.expand(compare, folder, comparison, api_name=False)


def _video_part() -> None:
    files = gr.State(time_to_live=KEPT_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            video = gr.Video(
                label="Video of a face", sources=["upload", "webcam"], height=320, include_audio=True, elem_id="video"
            )
            with gr.Row():
                network = gr.Radio(list(NETWORKS), value="RecAugNet", label="Expressions by", elem_id="network")
                smoothing = gr.Checkbox(True, label="Take out trembling")
            start = gr.Button("Capture the motion", variant="primary", size="lg", elem_id="capture")
            stop = gr.Button("Stop, and keep what is finished", variant="stop", visible=False, elem_id="stop-capture")
            gr.Examples(
                [[str(HERE / "examples" / f"{name}.mp4")] for name in DRIVERS],
                video,
                label="Or try one of these",
                cache_examples=False,
                elem_id="video-examples",
            )
        with gr.Column(scale=6, min_width=320):
            viewer = gr.Model3D(label="Animated 3D face", height=480, interactive=False, elem_id="animated")
            summary = gr.Markdown(elem_id="capture-summary")
            with gr.Row(visible=False) as row:
                downloads = [
                    gr.DownloadButton(f"↓ {label}", size="md", elem_id=f"download-take-{ending}")
                    for label, ending in (
                        ("Animated GLB", "glb"), ("Live Link Face CSV", "csv"), ("JSON", "json"),
                    )
                ]  # fmt: skip

    def begin(path: str | None) -> dict:
        if path is None:
            gr.Warning(NO_VIDEO)
            return {files: None}
        return {files: CaptureFiles(), start: gr.update(visible=False), stop: gr.update(visible=True)}

    def make(path, kept, network, smoothing, progress=gr.Progress()):  # noqa: B008
        if kept is None:
            return {summary: gr.skip()}
        progress(0, desc="Looking for the face")
        try:
            taken = capture(path, str(kept.stop), NETWORKS[network], smoothing, progress)
        except LirecError as error:
            gr.Warning(said(error, path))
            return {summary: gr.skip()}
        progress(1, desc="Painting the mesh")
        shown, written = kept.write(taken)
        links = dict(zip(downloads, written, strict=True))
        return {viewer: shown, summary: listed(taken.sentences()), row: gr.update(visible=True), **links}

    def end() -> tuple:
        return gr.update(visible=True), gr.update(visible=False)

    def halt(kept: CaptureFiles | None) -> None:
        if kept is not None:
            kept.stop.touch()

    start.click(begin, video, [files, start, stop], api_name=False, show_progress="hidden").then(
        make, [video, files, network, smoothing], [viewer, summary, row, *downloads], api_name=False,
        show_progress_on=viewer, concurrency_limit=2,
    ).then(end, None, [start, stop], api_name=False, show_progress="hidden")  # fmt: skip
    stop.click(halt, files, None, api_name=False, queue=False, show_progress="hidden")
