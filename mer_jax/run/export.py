"""Export of a policy as a Hugging Face folder that other programs load unchanged."""

import json
import pathlib
import tempfile

import jax

from mer_jax.models.checkpoint.save import export, hf_config, save_omni, with_fused_qkv
from mer_jax.models.omni import Omni
from mer_jax.run import trained_on
from mer_jax.run.config_rules import flat
from mer_jax.run.origin import PROMPTS_FILE
from mer_jax.run.setting import Setting
from mer_jax.sharding import largest_of_all
from mer_jax.storage.objects import contents, remove_folder


def export_policy(
    setting: Setting, policy: Omni, folder: pathlib.Path, run: pathlib.Path | None = None
) -> None:
    """Writes a policy with its tokenizer, and the config of its run as mer_jax.json.

    Of the workdir of the `run` the list of clips that it was trained on is copied, if it has one.
    Weights are written in model.dtype, in which they were used, a VL policy of the stage as
    Qwen2.5-VL is released. Raises ValueError if the folder is not empty.
    """
    origin = setting.origin
    if origin.root is None and policy.spec.family == 'vl':
        policy = with_fused_qkv(policy)
    spec = policy.spec
    with tempfile.TemporaryDirectory() as held:
        asked = pathlib.Path(held) / PROMPTS_FILE
        asked.write_text(json.dumps(flat(setting.config), indent=1) + '\n', encoding='utf-8')
        lines = contents(run / trained_on.FILE) if run else b''
        if lines:
            (pathlib.Path(held) / trained_on.FILE).write_bytes(lines)
        more = sorted(pathlib.Path(held).iterdir())
        if origin.root is None:
            setting.tokenizer.save_pretrained(held)
            config, beside = hf_config(spec, origin.ids), sorted(pathlib.Path(held).iterdir())
            save_omni(folder, policy, config, dtype=spec.dtype, beside=beside)
        else:
            export(folder, policy, origin.root, dtype=spec.dtype, more=more)


def export_anew(setting: Setting, policy: Omni, workdir: pathlib.Path) -> None:
    """`export_policy` into the folder `export` of a run; an earlier export there is removed."""
    folder = workdir / 'export'
    if jax.process_index() == 0:
        remove_folder(folder)
    largest_of_all([0])  # all processes wait until the folder is removed
    export_policy(setting, policy, folder, workdir)
