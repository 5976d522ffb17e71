"""Serves a page that answers clips with a checkpoint, fast and slow side by side.

    python -m mer_jax.demo --checkpoint runs/first
    python -m mer_jax.demo --checkpoint runs/first --port 8000 --max-mb 16 --max-seconds 20

Needs `pip install -r requirements-demo.txt`. docs/DEMO.md has the limits and what is shown.
"""

import argparse
import importlib.util
import logging
import os
import pathlib
import signal
import socket
import sys
import tempfile
import threading

from mer_jax.demo.answer_html import empty_page
from mer_jax.demo.answering import Answerer
from mer_jax.demo.limits import MOST_SECONDS, Limits
from mer_jax.demo.stage_examples import write_examples
from mer_jax.errors import quiet_pipes
from mer_jax.run.command_line import printable
from mer_jax.run.device_errors import explained
from mer_jax.run.setting import open_checkpoint
from mer_jax.storage.paths import StorageError

LONG_PROMPT = 2048  # tokens; recordings that are longer than any clip of training fit too
MISSING = 'mer_jax: the page needs Gradio: pip install -r requirements-demo.txt'


def read_flags(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags; exits with a message if one is missing or out of range."""
    parser = argparse.ArgumentParser(
        prog='python -m mer_jax.demo',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--checkpoint', required=True, help='a run, an export, or a checkpoint')
    parser.add_argument('--adapter', default='', help='a LoRA adapter of it, as peft saves one')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen at; 0.0.0.0: all')
    parser.add_argument('--port', type=int, default=7860, help='default 7860')
    parser.add_argument('--samples', type=int, default=8, help='most of each mode (default 8)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--max-mb', type=float, default=64, help='of a file (default 64)')
    parser.add_argument('--max-seconds', type=float, default=60, help='of a clip (default 60)')
    parser.add_argument('--waiting', type=int, default=8, help='clips in line (default 8)')
    parser.add_argument('--examples', type=int, default=4, help='clips of the stage (default 4)')
    parser.add_argument(
        '--prompt-tokens',
        type=int,
        help=f'of the longest prompt (default: as trained, at least {LONG_PROMPT})',
    )
    asked = parser.parse_args(arguments)
    for name in ('samples', 'waiting', 'examples', 'max_mb', 'prompt_tokens'):
        value = vars(asked)[name]
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")}={value:g}: must be at least 1')
    if not 0 < asked.max_seconds < MOST_SECONDS:
        parser.error(
            f'--max-seconds={asked.max_seconds:g}: must be above 0 and below {MOST_SECONDS}, '
            'where the reading of sound ends'
        )
    if not 0 <= asked.seed < 2**32:
        parser.error(f'--seed={asked.seed}: must be from 0 to 2**32 - 1')
    if not 0 < asked.port < 2**16:
        parser.error(f'--port={asked.port}: must be from 1 to {2**16 - 1}')
    return asked


def main(arguments: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.WARNING, format='%(message)s')
    logging.getLogger('absl').setLevel(logging.ERROR)  # Orbax tells what it was asked for
    asked = read_flags(arguments)
    if importlib.util.find_spec('gradio') is None:
        raise SystemExit(MISSING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that uploads are removed
    with tempfile.TemporaryDirectory(prefix='mer_jax_demo_') as folder:
        try:
            serve(asked, pathlib.Path(folder))
        except (ValueError, OSError, StorageError) as error:
            raise SystemExit(f'mer_jax: {printable(str(error))}') from None
        except KeyboardInterrupt:
            raise SystemExit(0) from None


def serve(asked: argparse.Namespace, folder: pathlib.Path) -> None:
    """Serves the page until a signal ends it; all its files lie in the folder."""
    check_address(asked.host, asked.port)
    prepare_gradio(folder)
    from mer_jax.demo import page  # imports Gradio, which reads the environment

    answerer, examples = open_answerer(asked, folder)
    built = page.build(
        answerer.page,
        examples,
        asked.samples,
        f'{asked.max_mb:g} MB and {asked.max_seconds:g} seconds at most',
        empty_page(),
    )
    place = examples_in(folder)
    address = page.serve(built, asked.host, asked.port, asked.waiting, asked.max_mb, place)
    said(f'the page is at {address} (Ctrl-C ends it)')
    try:
        threading.Event().wait()
    finally:
        built.close(verbose=False)


def prepare_gradio(folder: pathlib.Path) -> None:
    """Sets the environment that Gradio reads when it is imported: a private folder, no telemetry.

    Other settings of Gradio in the environment, which could open the page further, are dropped.
    """
    for name in [name for name in os.environ if name.startswith('GRADIO_')]:
        del os.environ[name]
    os.environ['GRADIO_TEMP_DIR'] = str(folder / 'uploads')
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ['HF_HUB_DISABLE_TELEMETRY'] = '1'
    for name in ('NO_PROXY', 'no_proxy'):  # Gradio asks its own page whether it has started
        os.environ[name] = ','.join(filter(None, [os.environ.get(name), '127.0.0.1', 'localhost']))


def check_address(host: str, port: int) -> None:
    """Refuses an address at which this machine cannot listen, before anything is loaded."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        raise ValueError(
            f'--host={host} --port={port}: cannot listen there ({error.strerror}); name a free '
            'port of an address of this machine'
        ) from None


def examples_in(folder: pathlib.Path) -> pathlib.Path:
    """Where the examples lie in the folder of a page."""
    return folder / 'examples'


def open_answerer(
    asked: argparse.Namespace, folder: pathlib.Path
) -> tuple[Answerer, list[tuple[str, str]]]:
    """The policy ready to answer, and the examples as (path, subtitle)."""
    setting, policy = open_checkpoint(asked.checkpoint, asked.adapter)
    data = setting.config.data
    trained = max(data.prompt_tokens)
    longest = asked.prompt_tokens or max(trained, LONG_PROMPT)
    data.prompt_tokens = tuple(sorted({*(n for n in data.prompt_tokens if n < longest), longest}))
    limits = Limits(asked.max_mb, asked.max_seconds)
    answerer = Answerer(setting, policy, folder, limits, asked.samples, trained, asked.seed)
    examples = write_examples(examples_in(folder), asked.examples, data.stage)
    answerer.warm_up(examples[0][0], said)
    return answerer, examples


def said(text: str) -> None:
    """Prints a line for the person who serves the page."""
    print(f'mer_jax: {text}', flush=True)


if __name__ == '__main__':
    with quiet_pipes(), explained():
        main()
