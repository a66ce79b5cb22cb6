"""The browser app: `python app.py`, or a Hugging Face Space. Each tab is one function that lays it out."""

from __future__ import annotations

import functools
import html
import os
import sys
import tempfile
import threading
import zipfile
from dataclasses import dataclass
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
    from lirec.processing.mesh_export import MeshData

HERE = Path(__file__).resolve().parent
WEIGHTS = os.environ.get("LIREC_WEIGHTS") or HERE / "hub" / "rec-aug-net"  # a folder, or an id on the Hub
EXAMPLES = ("astronaut", "rendered_red_hair", "rendered_beard", "rendered_black_hair", "rendered_four")
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


class Photo(gr.Image):
    """A picture whose file is handed on as it came, so that lirec reads it, and says what is wrong with it."""

    is_template = True

    def preprocess(self, payload):
        if payload is None or not payload.path:
            return super().preprocess(payload)
        return payload.path


@dataclass
class Shown:
    """What the viewer shows: kept for a change of its style."""

    face: Face
    mesh: MeshData


def reconstruction_tab() -> None:
    """A photo becomes a 3D face."""
    faces, shown = (gr.State(time_to_live=KEPT_SECONDS) for _ in range(2))
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            photo = Photo(
                label="Photo", type="filepath", sources=["upload", "webcam", "clipboard"], height=400, elem_id="photo"
            )
            start = gr.Button("Make it 3D", variant="primary", size="lg", elem_id="start")
            gr.Examples(
                [[str(HERE / "examples" / f"{name}.jpg")] for name in EXAMPLES],
                photo,
                label="Or try one of these",
                cache_examples=False,
            )
            picker = gr.Gallery(
                label="Several faces: choose one", visible=False, columns=4, height=190, object_fit="cover",
                allow_preview=False, interactive=False, buttons=[], elem_id="picker",
            )  # fmt: skip
        with gr.Column(scale=6, min_width=320):
            viewer = gr.Model3D(
                label="3D face: drag to turn, scroll to zoom", height=480, interactive=False, elem_id="viewer",
                clear_color=(0.93, 0.94, 0.96, 1.0),
            )  # fmt: skip
            with gr.Column(visible=False) as under_viewer:
                style = gr.Radio([TEXTURED, CLAY], value=TEXTURED, show_label=False, container=False, elem_id="style")
                with gr.Row(elem_id="downloads"):
                    downloads = [
                        gr.DownloadButton(label, size="md", min_width=120, elem_id=f"download-{label.lower()}")
                        for label in ("GLB", "OBJ", "PLY", "JSON")
                    ]
    with gr.Column(visible=False) as details:
        with gr.Row():
            overlay, normals, albedo = (
                gr.Image(label=label, format="png", height=320, min_width=260, buttons=["download", "fullscreen"],
                         interactive=False, elem_id=label.split()[-1].lower())
                for label in ("Mesh overlay", "Surface normals", "Skin albedo")
            )  # fmt: skip
        bars = gr.HTML(elem_id="expressions")

    sections = (under_viewer, details)
    results = (viewer, overlay, normals, albedo, bars, *downloads)

    def show(face: Face, style: str):
        close_up, mesh = face.close_up(), face.mesh()
        with tempfile.TemporaryDirectory() as folder:
            files = write_files(Path(folder), face, mesh)
            yield {
                shown: Shown(face, mesh),
                viewer: view_file(Path(folder), style, Shown(face, mesh)),
                overlay: close_up.overlay(),
                normals: close_up.normal_map(),
                albedo: close_up.albedo_map(),
                bars: expression_bars(dict(zip(face.expression_names, face.expression, strict=True))),
                **dict(zip(downloads, map(str, files), strict=True)),
                **{section: gr.update(visible=True) for section in sections},
            }

    def reconstruct(path: str | None, style: str):
        if path is None:
            gr.Warning(NO_PICTURE, title="No picture")
            yield gr.skip()
            return
        from lirec.processing.image import load_image, shrink

        # A warning and not an error: what was made before stays in view.
        try:
            found = find_faces(shrink(load_image(Path(path).read_bytes()), LONGEST_EDGE))
        except LirecError as error:
            gr.Warning(str(error), title="This did not work")
            yield gr.skip()
            return
        if not found:
            gr.Warning(NO_FACE, title="No face")
            yield gr.skip()
            return
        several = len(found) > 1
        thumbnails = [(face.close_up(160).image, f"Face {i}") for i, face in enumerate(found, 1)] if several else None
        for update in show(found[0], style):
            yield {
                faces: found,
                picker: gr.Gallery(thumbnails, visible=several, selected_index=0 if several else None),
                **update,
            }

    def reconstruct_new(path: str | None, style: str):
        yield from reconstruct(path, style) if path is not None else iter((gr.skip(),))

    def choose(found: list | None, style: str, event: gr.SelectData):
        if found:
            yield from show(found[event.index], style)
        else:
            yield gr.skip()

    def restyle(style: str, seen: Shown | None):
        if seen is None:
            yield gr.skip()
            return
        with tempfile.TemporaryDirectory() as folder:
            yield view_file(Path(folder), style, seen)

    outputs = [faces, shown, picker, *results, *sections]
    every = {"outputs": outputs, "show_progress_on": viewer, "concurrency_limit": 2}
    start.click(reconstruct, [photo, style], api_name="reconstruct", **every)
    photo.change(reconstruct_new, [photo, style], api_name=False, trigger_mode="always_last", **every)
    picker.select(choose, [faces, style], api_name=False, **every)
    style.change(restyle, [style, shown], viewer, api_name=False)


def write_files(folder: Path, face: Face, mesh: MeshData) -> list[Path]:
    """Everything there is to download: GLB; OBJ with its material and texture in a ZIP; PLY; coefficients."""
    from lirec.processing.mesh_export import export_mesh

    archive = folder / "face_obj.zip"
    export_mesh(folder / "face.obj", mesh)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for ending in (".obj", ".mtl", ".png"):
            file.write(folder / f"face{ending}", f"face{ending}")
    return [
        export_mesh(folder / "face.glb", mesh),
        archive,
        export_mesh(folder / "face.ply", mesh),
        face.save(folder / "face.json"),
    ]


def view_file(folder: Path, style: str, shown: Shown) -> str:
    """The file that the viewer shows."""
    from lirec.processing.mesh_export import export_mesh

    mesh = shown.mesh if style == TEXTURED else shown.face.mesh(textured=False)
    return str(export_mesh(folder / f"{style.lower()}.glb", mesh, unlit=style == TEXTURED))


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
.gradio-container > main, .gradio-container .wrap { width: 100%; }
#title h1 { font-size: 2.1rem; letter-spacing: -0.02em; margin: 0.4rem 0 0.1rem; }
#title p { font-size: 1.05rem; color: var(--body-text-color-subdued); }
#footer p { font-size: 0.85rem; color: var(--body-text-color-subdued); text-align: center; }
#expressions h3 { font-size: 0.95rem; font-weight: 600; margin: 0 0 0.6rem; }
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
