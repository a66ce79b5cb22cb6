"""The browser app: `python app.py`, or a Hugging Face Space. Each tab is one function that lays it out."""

from __future__ import annotations

import functools
import html
import os
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import spaces

from lirec import LirecError

# torch and what needs it is imported where it is used: the first page need not wait for it.
if TYPE_CHECKING:
    import numpy as np

    from lirec import RecAugNetPipeline
    from lirec.pipelines.reconstruction import Face

HERE = Path(__file__).resolve().parent
WEIGHTS = os.environ.get("LIREC_WEIGHTS") or HERE / "hub" / "rec-aug-net"  # a folder, or an id on the Hub
EXAMPLES = ("astronaut", "rendered_long_hair", "rendered_beard", "rendered_open_mouth", "rendered_four")
LONGEST_EDGE = 2048  # px; larger photos are shrunk: a face's texture has no more pixels
LARGEST_FILE = "30mb"
KEPT_SECONDS = 1800  # what visitors gave and got is deleted after this time

NO_PICTURE = "There is no picture yet: upload a photo, take one, or click on an example."
NO_FACE = "No face was found in this picture: try one in which a face is larger and seen from the front."
TEXTURED, CLAY = "Textured", "Clay"

_loading = threading.Lock()


@functools.cache
def _load() -> RecAugNetPipeline:
    import torch

    from lirec import RecAugNetPipeline

    return RecAugNetPipeline.from_pretrained(WEIGHTS).to("cuda" if torch.cuda.is_available() else "cpu")


def reconstruction_pipeline() -> RecAugNetPipeline:
    """The pipeline, loaded once; a `LirecError` when its weights are not there."""
    with _loading:
        return _load()


@spaces.GPU(duration=15)
def find_faces(image: np.ndarray) -> list[Face]:
    return reconstruction_pipeline()(image).faces


# 3D reconstruction ----------------------------------------------------------------------------------------------------


def photo_input(**settings) -> gr.Image:
    """A picture whose file is handed on as it came, so that lirec reads it, and says what is wrong with it."""
    photo = gr.Image(type="filepath", sources=["upload", "webcam", "clipboard"], **settings)
    decode = photo.preprocess  # of what is no file but text
    photo.preprocess = lambda data: data.path if data and data.path else decode(data)
    return photo


def reconstruction_tab() -> None:
    """A photo becomes a 3D face."""
    faces, folder = (gr.State(time_to_live=KEPT_SECONDS) for _ in range(2))
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            photo = photo_input(label="Photo", height=400, elem_id="photo")
            start = gr.Button("Make it 3D", variant="primary", size="lg", elem_id="start")
            picker = gr.Gallery(
                label="Several faces: choose one", visible=False, columns=4, height=165, object_fit="cover",
                allow_preview=False, interactive=False, buttons=[], elem_id="picker",
            )  # fmt: skip
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
                with gr.Row(elem_id="actions"):
                    style = gr.Radio(
                        [TEXTURED, CLAY], value=TEXTURED, show_label=False, container=False, scale=0, min_width=230,
                        elem_id="style",
                    )  # fmt: skip
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
        bars = gr.HTML(elem_id="expressions")

    sections = (beside_photo, below)
    results = (viewer, overlay, normals, albedo, bars, *downloads)

    # Plain functions, not generators: a viewer that gets its first file twice in a row stays empty.
    def show(face: Face, style: str) -> dict:
        close_up = face.close_up()
        files = FaceFiles(face)
        return {
            folder: files,
            viewer: files.view(style),
            overlay: close_up.overlay(),
            normals: close_up.normal_map(),
            albedo: close_up.albedo_map(),
            bars: expression_bars(dict(zip(face.expression_names, face.expression, strict=True))),
            **dict(zip(downloads, files.downloads(), strict=True)),
            **{section: gr.update(visible=True) for section in sections},
        }

    def reconstruct(path: str | None, style: str) -> dict:
        # Warnings and not errors: what was made before stays in view.
        if path is None:
            gr.Warning(NO_PICTURE)
            return {faces: gr.skip()}
        from lirec.processing.image import load_image, shrink

        try:
            found = find_faces(shrink(load_image(Path(path).read_bytes()), LONGEST_EDGE))
        except LirecError as error:
            gr.Warning(html.escape(str(error)))
            return {faces: gr.skip()}
        if not found:
            gr.Warning(NO_FACE)
            return {faces: gr.skip()}
        several = len(found) > 1
        thumbnails = [(face.close_up(160).image, str(i)) for i, face in enumerate(found, 1)] if several else None
        choice = gr.Gallery(thumbnails, visible=several, selected_index=0 if several else None)
        return {faces: found, picker: choice, **show(found[0], style)}

    def reconstruct_new(path: str | None, style: str) -> dict:
        return {faces: gr.skip()} if path is None else reconstruct(path, style)

    def choose(found: list | None, style: str, event: gr.SelectData) -> dict:
        return show(found[event.index], style) if found else {faces: gr.skip()}

    def restyle(style: str, files: FaceFiles | None):
        return files.view(style) if files else gr.skip()

    outputs = [faces, folder, picker, *results, *sections]
    every = {"outputs": outputs, "show_progress_on": viewer, "concurrency_limit": 2}
    start.click(reconstruct, [photo, style], api_name="reconstruct", **every)
    photo.change(reconstruct_new, [photo, style], api_name=False, trigger_mode="always_last", **every)
    picker.select(choose, [faces, style], api_name=False, **every)
    style.change(restyle, [style, folder], viewer, api_name=False)


class FaceFiles:
    """A face as files, in a folder that goes when this object does."""

    def __init__(self, face: Face):
        from lirec.processing.mesh_export import export_mesh

        self._folder = tempfile.TemporaryDirectory(prefix="lirec-", ignore_cleanup_errors=True)
        self._path = Path(self._folder.name)
        mesh = face.mesh()
        for ending in ("glb", "obj", "ply"):
            export_mesh(self._path / f"face.{ending}", mesh)
        with zipfile.ZipFile(self._path / "face_obj.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for ending in ("obj", "mtl", "png"):
                archive.write(self._path / f"face.{ending}", f"face.{ending}")
        face.save(self._path / "face.json")
        export_mesh(self._path / f"{TEXTURED}.glb", mesh, unlit=True)
        export_mesh(self._path / f"{CLAY}.glb", face.mesh(textured=False))

    def view(self, style: str) -> str:
        """The file for the viewer: the photo's own light is in the texture, clay is lit there."""
        return str(self._path / f"{style}.glb")

    def downloads(self) -> list[str]:
        """GLB; OBJ with its material and texture in a ZIP; PLY; coefficients as JSON."""
        return [str(self._path / name) for name in ("face.glb", "face_obj.zip", "face.ply", "face.json")]


def expression_bars(expression: dict[str, float]) -> str:
    """One labelled bar for each coefficient in [0, 1]."""
    rows = "".join(
        f'<div class="bar" title="{html.escape(name)}: {value:.2f}"><span>{html.escape(name)}</span>'
        f'<i><b style="width:{100 * value:.0f}%"></b></i><em>{value:.2f}</em></div>'
        for name, value in expression.items()
    )
    return f"<h3>Expression: {len(expression)} ARKit blendshapes</h3><div class='bars'>{rows}</div>"


# The page -------------------------------------------------------------------------------------------------------------

TABS = {
    "3D reconstruction": reconstruction_tab,
}

TITLE = """
# lirec
Turn a photo of a face into a textured 3D head with 51 expressions, ready for Blender, Unity, Unreal or the web.
"""

FOOTER = (
    "Pictures are worked on where this page comes from and deleted there within the hour. "
    "The networks learnt from rendered faces only."
)

CSS = """
.gradio-container { max-width: 1280px !important; margin: auto; }
.gradio-container .fillable { width: 100%; }
#title h1 { font-size: 2.1rem; letter-spacing: -0.02em; margin: 0.4rem 0 0.1rem; }
#title p { font-size: 1.05rem; color: var(--body-text-color-subdued); }
#footer p { font-size: 0.85rem; color: var(--body-text-color-subdued); text-align: center; }
#expressions h3 { font-size: 0.95rem; font-weight: 600; margin: 0 0 0.6rem; }
#picker .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)); padding-top: 1.6rem; }
#actions button { white-space: nowrap; padding-inline: 0.5rem; }
@media (max-width: 640px) { #style { flex-basis: 100%; } }
.bars { columns: 3 250px; column-gap: 2rem; }
.bar { display: grid; grid-template-columns: 9.5rem 1fr 2.2rem; gap: 0.6rem; align-items: center;
       break-inside: avoid; font-size: 0.8rem; line-height: 1.45rem; }
.bar span { overflow: hidden; text-overflow: ellipsis; }
.bar i { display: block; height: 0.5rem; border-radius: 0.25rem; background: var(--border-color-primary); }
.bar b { display: block; height: 100%; border-radius: 0.25rem; background: var(--color-accent); }
.bar em { font-style: normal; font-variant-numeric: tabular-nums; text-align: right;
          color: var(--body-text-color-subdued); }
"""


def build_demo() -> gr.Blocks:
    """The page with all its tabs; loads no weights."""
    with gr.Blocks(
        title="lirec: a photo becomes a 3D face",
        analytics_enabled=False,
        delete_cache=(KEPT_SECONDS, KEPT_SECONDS),
    ) as demo:
        gr.Markdown(TITLE, elem_id="title")
        for name, lay_out in TABS.items():
            with gr.Tab(name):
                lay_out()
        gr.Markdown(FOOTER, elem_id="footer")
    return demo


def warm_up() -> None:
    """Load the weights and compile what compiles at first use, so that the first visitor need not wait for it."""
    pipeline = reconstruction_pipeline()
    for face in pipeline(HERE / "examples" / "astronaut.jpg", boxes=[[175, 55, 275, 175]]).faces:
        face.close_up().overlay()
        face.mesh(256)


def main() -> None:
    if os.environ.get("SPACES_ZERO_GPU"):  # networks must be on the GPU before the first request is
        reconstruction_pipeline()
    fonts = ["system-ui", "sans-serif"]
    build_demo().queue(default_concurrency_limit=2).launch(
        theme=gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", font=fonts, font_mono=["monospace"]),
        css=CSS,
        max_file_size=LARGEST_FILE,
        footer_links=[],
        prevent_thread_lock=True,
    )
    try:
        warm_up()
    except LirecError as error:
        print(error, file=sys.stderr)  # the page says so too, whoever asks it for a face
    threading.Event().wait()


if __name__ == "__main__":
    main()
