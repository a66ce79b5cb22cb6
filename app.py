"""The browser app: `python app.py`, or a Hugging Face Space. Each tab is one function that lays it out."""

from __future__ import annotations

import contextlib
import sys
import threading

import gradio as gr

from app_landmarks import landmark_tab
from app_reconstruction import reconstruction_tab
from app_shared import HERE, KEPT_SECONDS, ZERO_GPU, landmark_pipeline, reconstruction_pipeline, reenactment_pipeline
from app_video import reenactment_tab
from lirec import LirecError

LARGEST_FILE = "100mb"

# The page -------------------------------------------------------------------------------------------------------------

TABS = {
    "Landmark reenactment": landmark_tab,
    "Video reenactment": reenactment_tab,
    "3D reconstruction": reconstruction_tab,
}

TITLE = """
# lirec
Let a picture, a video or sliders move the face in a photo, or turn it into a textured 3D head with 51 expressions,
ready for Blender, Unity, Unreal or the web.
"""

FOOTER = (
    "Pictures and videos are worked on where this page comes from and deleted there within the hour. "
    "The networks learnt from rendered faces only."
)

CSS = """
.gradio-container { max-width: min(1280px, 100vw) !important; margin: auto; }
.gradio-container .fillable { width: 100%; }
#title h1 { font-size: 2.1rem; letter-spacing: -0.02em; margin: 0.4rem 0 0.1rem; }
#title p { font-size: 1.05rem; color: var(--body-text-color-subdued); }
#footer p { font-size: 0.85rem; color: var(--body-text-color-subdued); text-align: center; }
#expressions h3 { font-size: 0.95rem; font-weight: 600; margin: 0 0 0.6rem; }
.picker .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)); padding-top: 1.6rem; }
.tab-container { min-width: 0; overflow: hidden; }
#actions button { white-space: nowrap; padding-inline: 0.5rem; }
#comparison .grid-wrap { max-height: none; }
#edit-actions { align-items: center; }
#sliders { max-height: 30rem; overflow-y: auto; flex-wrap: nowrap; }
#sliders > * { flex-shrink: 0; }
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
    reenactment_pipeline().edit(HERE / "examples" / "astronaut.jpg", box=[175, 55, 275, 175], size=128)
    landmark_pipeline().prepare(HERE / "examples" / "astronaut.jpg", box=[175, 55, 275, 175], size=128)


def main() -> None:
    if ZERO_GPU:  # networks must be on the GPU before the first request is
        with contextlib.suppress(LirecError):  # said below
            reenactment_pipeline()
            landmark_pipeline()
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
        print(error, file=sys.stderr)  # the page says so too, to whoever asks it for a face
    threading.Event().wait()


if __name__ == "__main__":
    main()
