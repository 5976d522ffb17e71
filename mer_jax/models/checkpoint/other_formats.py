"""Weight files in other formats than safetensors, and how to get safetensors instead."""

import pathlib

PICKLES = ('*.bin', '*.pth', '*.pt', '*.ckpt')


def other_weights(folder: pathlib.Path) -> str:
    """The weight files of a folder without safetensors, in words, with a way out."""
    gguf = sorted(path.name for path in folder.glob('*.gguf'))
    if gguf:
        return (
            f'only {_some(gguf)}, in the format of llama.cpp, whose tensors are renamed and mostly '
            'quantised: download the safetensors files of the model from which it was made'
        )
    pickled = sorted(path.name for ending in PICKLES for path in folder.glob(ending))
    if pickled:
        return (
            f'only {_some(pickled)}, which would have to be unpickled, and a pickle can run any '
            'program: download the safetensors files, or convert these where you trust them, with '
            'from_pretrained(folder).save_pretrained(other) of `transformers`'
        )
    return (
        'neither: download the safetensors files, or save the model in that format with '
        '`transformers`'
    )


def _some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')
