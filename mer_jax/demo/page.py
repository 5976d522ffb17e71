"""The layout of the page, in Gradio, and how it is served: nothing leaves the machine."""

import os
import pathlib
from collections.abc import Callable

import gradio as gr

from mer_jax.demo.answering import MOST_LETTERS
from mer_jax.demo.limits import MEGABYTE

STYLE = pathlib.Path(__file__).with_name('page.css')
TITLE = 'mer_jax: which emotions does this clip show?'
ABOUT = (
    'The model answers twice: **fast**, at once, and **slow**, with its reasoning. Files stay on '
    'the machine that runs this page and are removed when it ends.'
)
LABEL = 38  # letters of the label of an example
FONTS = ('system-ui', 'sans-serif')
CODE_FONTS = ('ui-monospace', 'monospace')


def build(
    answer: Callable[[str | None, str, float], str],
    examples: list[tuple[str, str]],
    most: int,
    accepted: str,
    empty: str,
) -> gr.Blocks:
    """The page: a clip, its subtitle and the number of samples on the left, answers on the right.

    `answer` takes the path of a file, a subtitle and a number of samples, and gives HTML, `empty`
    before the first answer. `accepted` says which clips the page takes.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f'## {TITLE}\n{ABOUT} A clip may have {accepted}.')
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                chosen, file, recording = _clip()
                subtitle = gr.Textbox(
                    label='Subtitle',
                    placeholder='what is said in the clip, if known',
                    max_length=MOST_LETTERS,
                )
                samples = gr.Slider(
                    1, most, value=min(4, most), step=1, label='Samples of each mode'
                )
                button = gr.Button('Answer', variant='primary', elem_id='answer')
                gr.Examples(
                    [list(example) for example in examples],
                    [file, subtitle],
                    example_labels=[
                        shortened(text or os.path.basename(path)) for path, text in examples
                    ],
                    label='Clips of the embedded stage, never trained on',
                    cache_examples=False,
                    api_visibility='private',
                )
            with gr.Column(scale=5, min_width=320):
                shown = gr.HTML(empty, label='Answers', elem_id='answers')
        button.click(
            lambda which, path, recorded, text, number: answer(
                path if which == 'file' else recorded, text, number
            ),
            [chosen, file, recording, subtitle, samples],
            shown,
            api_visibility='private',
            concurrency_limit=1,
        )
    return page


def _clip() -> tuple[gr.State, gr.File, gr.Video]:
    """Tabs for a file and for a recording; which of them is chosen, 'file' or 'recording'."""
    chosen = gr.State('file')
    with gr.Tabs():
        with gr.Tab('File') as file_tab:
            file = gr.File(label='Film, sound or picture', height=150, elem_id='clip')
        with gr.Tab('Webcam') as recording_tab:
            recording = gr.Video(
                label='Recording',
                sources=['webcam'],
                include_audio=True,
                webcam_options=gr.WebcamOptions(mirror=False),  # mirroring would need FFmpeg
                height=240,
            )
    for tab, name in ((file_tab, 'file'), (recording_tab, 'recording')):
        tab.select(lambda name=name: name, None, chosen, queue=False, api_visibility='private')
    for component in (file, recording):
        refuse_addresses(component)
    return chosen, file, recording


def shortened(text: str) -> str:
    """The beginning of a text, for a button."""
    return text if len(text) <= LABEL else f'{text[:LABEL].rstrip()}…'


def refuse_addresses(component: gr.components.Component) -> None:
    """Keeps a component from downloading an address that a client sends in place of a file."""
    move = component.async_move_resource_to_block_cache

    async def move_file(path):
        if path is not None and '://' in str(path):
            raise gr.Error('a file is needed, not an address')
        return await move(path)

    component.async_move_resource_to_block_cache = move_file


def serve(
    page: gr.Blocks, host: str, port: int, waiting: int, megabytes: float, examples: pathlib.Path
) -> str:
    """Serves a page and returns its address; OSError if the port is in use.

    One clip is answered at a time, `waiting` others wait, and more are told to come later. No file
    is served but uploads and the examples.
    """
    page.queue(max_size=waiting, default_concurrency_limit=1, api_open=False)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        show_error=False,
        inbrowser=False,
        prevent_thread_lock=True,
        footer_links=[],
        allowed_paths=[str(examples)],
        max_file_size=round(megabytes * MEGABYTE),
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(font=_fonts(FONTS), font_mono=_fonts(CODE_FONTS)),
        css=STYLE.read_text(encoding='utf-8'),
    )
    return address


def _fonts(names: tuple[str, ...]) -> list[gr.themes.Font]:
    """Fonts of the visitor's system, which no server is asked for."""
    return [gr.themes.Font(name) for name in names]
