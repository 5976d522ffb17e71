"""Seconds of a whole GRPO step of TRL on the workloads of `experiments/speed.py --checkpoint`.

    python experiments/peers/trl_step.py --checkpoint DIR --image 448 --text 64
    python experiments/peers/trl_step.py --checkpoint DIR --text 512 --image 0
    python experiments/peers/trl_step.py --checkpoint DIR --text 512 --image 0 --new 256 --gpu

Runs in an environment of its own with trl, torch and torchvision. One JSON line on stdout. DIR is a
Qwen2.5-VL folder with tokenizer and processor, whose every word is one token.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections import defaultdict

import datasets
import numpy as np
import torch
import transformers
import trl
import trl.trainer.utils
from clock import now, print_line, watch
from PIL import Image


class Stamps(transformers.TrainerCallback):
    """Time and others' CPU seconds around each step, and the speed of products after the first."""

    def __init__(self):
        self.ends, self.starts, self.peaks = [], [], []

    def on_step_end(self, args, state, control, **given):
        self.ends.append(now())
        if len(self.ends) == 1:
            self.peaks.append(matmul_gflop_per_second())
        self.starts.append(now())


def rows(flags: argparse.Namespace, processor) -> datasets.Dataset:
    """Random words after an image of noise: prompts of exactly `--text` tokens and the image's."""
    random, found = np.random.default_rng(0), []
    tokenizer = processor.tokenizer
    words = np.setdiff1d(np.arange(len(tokenizer)), list(tokenizer.get_added_vocab().values()))
    chat = [{'role': 'user', 'content': 'x'}]
    around = len(tokenizer.apply_chat_template(chat, add_generation_prompt=True)['input_ids']) - 1
    if flags.text <= around:
        raise SystemExit(f'--text={flags.text}: the chat template alone has {around} tokens')
    for _ in range(flags.prompts * (1 + flags.repeats)):
        said = tokenizer.decode(random.choice(words, flags.text - around))
        row = {'prompt': [{'role': 'user', 'content': said}]}
        if flags.image:
            noise = random.integers(0, 256, (flags.image, flags.image, 3), np.uint8)
            row['image'] = Image.fromarray(noise)
        found.append(row)
    return datasets.Dataset.from_list(found)


def make_trainer(flags: argparse.Namespace, folder: str, stamps: Stamps) -> trl.GRPOTrainer:
    """TRL with its defaults, float32 on the CPU, bfloat16 on a GPU; one update a step."""
    processor = transformers.AutoProcessor.from_pretrained(flags.checkpoint)
    settings = trl.GRPOConfig(
        output_dir=folder,
        use_cpu=not flags.gpu,
        bf16=flags.gpu,
        model_init_kwargs={'dtype': 'float32'},  # weights, as here; bf16 is that of products
        gradient_checkpointing=not flags.no_recompute,
        beta=0.04,
        num_generations=flags.group,
        per_device_train_batch_size=flags.prompts * flags.group,
        max_completion_length=flags.new,
        generation_kwargs={'min_new_tokens': flags.new},  # no branch ends early
        max_steps=1 + flags.repeats,
        report_to='none',
        save_strategy='no',
    )
    return trl.GRPOTrainer(
        model=flags.checkpoint,
        reward_funcs=evenness,
        args=settings,
        train_dataset=rows(flags, processor),
        callbacks=[stamps],
    )


def evenness(completion_ids, **columns) -> list[float]:
    """The share of even tokens of each completion, so that groups vary."""
    return [float(np.mean(np.array(ids) % 2 == 0)) for ids in completion_ids]


def matmul_gflop_per_second() -> float:
    """The median of five products of two 2048 x 2048 float32 matrices."""
    square, seconds = torch.full((2048, 2048), 0.5), []
    square @ square
    for _ in range(5):
        start = time.perf_counter()
        square @ square
        seconds.append(time.perf_counter() - start)
    return 2 * 2048**3 / 1e9 / statistics.median(seconds)


def measure(flags: argparse.Namespace) -> dict:
    """The printed line; a step lasts from the end of the one before to its own."""
    stamps, seconds, grown = Stamps(), defaultdict(list), []
    if flags.compact_head:
        trl.trainer.utils._use_triton = lambda device: True  # used there for this choice only
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(flags, folder, stamps)
        sees = {
            '_generate': lambda made: grown.append(sum(map(len, made[1]))),
            '_get_per_token_logps_and_entropies': lambda logps: None,
            '_prepare_inputs': lambda inputs: None,
        }
        for name, see in sees.items():
            watch(trainer, trl.GRPOTrainer, name, seconds, see)
        trainer.train()
    stamps.peaks.append(matmul_gflop_per_second())
    steps, others = (np.array(stamps.ends[1:]) - np.array(stamps.starts[:-1])).T
    prepare, generate = (np.array(seconds[name][1:]) for name in ('_prepare_inputs', '_generate'))
    reference, forward = (
        np.array(seconds['_get_per_token_logps_and_entropies'][2:]).reshape(-1, 2).T
    )
    parts = {'generate': generate, 'reference': reference}
    parts |= {'other_preparation': prepare - generate - reference}
    parts |= {'update': steps - prepare, 'forward_of_update': forward}
    return {
        'peer': f'trl {trl.__version__}, transformers {transformers.__version__}, '
        f'torch {torch.__version__}',
        'workload': vars(flags) | {'weights': sum(w.numel() for w in trainer.model.parameters())},
        'step_seconds': steps.tolist(),
        'others_share': (others / steps / os.cpu_count()).tolist(),
        'median_seconds': float(np.median(steps)),
        'part_seconds': {name: float(np.median(taken)) for name, taken in parts.items()},
        'grown_tokens': grown[1:],
        'matmul_gflop_per_second': stamps.peaks,
        'peak_gib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        'peak_gpu_gib': torch.cuda.max_memory_allocated() / 2**30 if flags.gpu else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--checkpoint', required=True, help='a Qwen2.5-VL folder')
    parser.add_argument('--image', type=int, default=448, help='side of an image, 0 for none')
    parser.add_argument('--text', type=int, default=64, help='tokens of a prompt beside its image')
    parser.add_argument(
        '--no-recompute', action='store_true', help='store activations instead of recomputing them'
    )
    parser.add_argument(
        '--compact-head', action='store_true', help='score no prompt positions, as TRL on a GPU'
    )
    parser.add_argument('--gpu', action='store_true', help='run on a GPU, products in bfloat16')
    print_line(parser, measure)


if __name__ == '__main__':
    main()
