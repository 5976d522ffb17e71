"""Export of a policy as a Hugging Face folder that other programs load unchanged."""

import json
import pathlib
import tempfile

import jax

from mer_jax.models.checkpoint.peft import save_adapter
from mer_jax.models.checkpoint.save import export, hf_config, save_omni, with_fused_qkv
from mer_jax.models.lora import merged
from mer_jax.models.omni import Omni
from mer_jax.run import trained_on
from mer_jax.run.adapters import make_lora
from mer_jax.run.config_rules import flat
from mer_jax.run.origin import PROMPTS_FILE, base_of
from mer_jax.run.setting import Setting
from mer_jax.sharding import largest_of_all
from mer_jax.storage.objects import contents, remove_folder


def export_policy(
    setting: Setting, policy: Omni, folder: pathlib.Path, run: pathlib.Path | None = None
) -> None:
    """Writes a policy with its tokenizer, and the config of its run as mer_jax.json.

    Of the workdir of the `run` the list of clips that it was trained on is copied, if it has one.
    Adapters are merged into the weights. These are written in model.dtype, in which they were used,
    a VL policy of the stage as Qwen2.5-VL is released. Raises ValueError if the folder is not
    empty.
    """
    origin, policy = setting.origin, merged(policy)
    if origin.root is None and policy.spec.family == 'vl':
        policy = with_fused_qkv(policy)
    spec = policy.spec
    with tempfile.TemporaryDirectory() as held:
        more = write_beside(setting, pathlib.Path(held), run)
        if origin.root is None:
            setting.tokenizer.save_pretrained(held)
            config, beside = hf_config(spec, origin.ids), sorted(pathlib.Path(held).iterdir())
            save_omni(folder, policy, config, dtype=spec.dtype, beside=beside)
        else:
            export(folder, policy, origin.root, dtype=spec.dtype, more=more)


def write_beside(setting: Setting, held: pathlib.Path, run: pathlib.Path | None) -> list:
    """Writes the files of this package that an export has beside its weights; their paths."""
    asked = held / PROMPTS_FILE
    asked.write_text(json.dumps(flat(setting.config), indent=1) + '\n', encoding='utf-8')
    lines = contents(run / trained_on.FILE) if run else b''
    if lines:
        (held / trained_on.FILE).write_bytes(lines)
    return sorted(held.iterdir())


def export_adapter(
    setting: Setting, policy: Omni, folder: pathlib.Path, run: pathlib.Path, base: str
) -> None:
    """Writes the adapters of a policy in the format of PEFT, beside the model `base`.

    Files of this package are those of `export_policy`. ValueError if the policy has no adapters, or
    the folder is not empty.
    """
    if setting.config.learn.train != 'lora':
        raise ValueError(
            f'{run}: holds no adapters, for its learn.train={setting.config.learn.train}; export '
            'its whole policy, without --adapter'
        )
    with tempfile.TemporaryDirectory() as held:
        beside = write_beside(setting, pathlib.Path(held), run)
        save_adapter(folder, policy, make_lora(setting.config.learn.lora), base, beside)


def export_anew(setting: Setting, policy: Omni, workdir: pathlib.Path) -> None:
    """`export_policy` into the folder `export` of a run; an earlier export there is removed.

    Adapters are written into its folder `adapter` too.
    """
    folder, adapter = workdir / 'export', workdir / 'adapter'
    if jax.process_index() == 0:
        remove_folder(folder)
        remove_folder(adapter)
    largest_of_all([0])  # all processes wait until the folders are removed
    export_policy(setting, policy, folder, workdir)
    if setting.config.learn.train == 'lora':
        base = base_of(setting.config.model.checkpoint)
        export_adapter(setting, policy, adapter, workdir, base)
