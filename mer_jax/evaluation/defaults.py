"""Default configs of evaluations: MER-UniBench, and images that evoke emotions.

mer_jax.evaluate reads this file itself where `--config` is not given.
"""

from ml_collections import ConfigDict

from mer_jax.data.benchmarks import EMOTION_IMAGES, MER_UNIBENCH
from mer_jax.run.defaults import mesh_rules


def mer_unibench() -> ConfigDict:
    """The nine sets of MER-UniBench; mer_jax.data.benchmarks lists the keys of all known sets."""
    c = ConfigDict()
    c.seed = -1  # of sampling; -1: the seed in the checkpoint's config
    c.model = ConfigDict()
    c.model.checkpoint = ''  # one named checkpoint: nothing is chosen on test data
    c.model.adapter = ''  # a LoRA adapter of the checkpoint, as peft saves one
    c.model.video_positions = ''  # paper | transformers_5_3; '' = those of the checkpoint's run
    c.data = ConfigDict(
        dict(
            root='',  # folder that holds the sets, or a manifest.jsonl
            cache='',  # folder for features of the towers; '' = no cache
            max_bad_clips=100,  # damaged ones left out before a set counts as damaged [clips]
        )
    )
    c.method = ''  # '' = that of the checkpoint's run; of a plain Hugging Face folder mer_r1
    c.trained_on = ''  # key of the set in domain; '' = that in data.manifest of the run
    c.benchmarks = MER_UNIBENCH  # keys of sets, as mer_jax.data.benchmarks lists them
    c.wheels = ('builtin',)  # or AffectGPT's folder emotion_wheel, as in published figures
    c.level = 1  # of the wheels: 1 | 2
    c.clips = 0  # the first of each set; 0 = all [clips]
    c.evaluate = ConfigDict(
        dict(
            batch=32,  # answered at a time, over all devices [clips]
            temperature=0.9,  # of sampling
            top_p=0.9,  # probability of the likeliest tokens that are drawn from; 1: all
        )
    )
    c.mesh = ConfigDict(
        dict(
            data=-1,  # copies of the weights; -1: what the others leave; 0: one for 8 [devices]
            fsdp=1,  # that share weights and prompts; -1: what the others leave [devices]
            tensor=1,  # that share heads, gated layers and vocabulary; -1: the rest [devices]
        )
    )
    c.mesh.rules = mesh_rules()
    c.judge = ConfigDict()  # of the reasoning in sets of MME-Emotion; needs an endpoint
    c.judge.endpoint = ''  # OpenAI-compatible, e.g. https://host/v1; '' = no judge
    c.judge.model = ''  # its name at the endpoint
    c.judge.key = 'JUDGE_API_KEY'  # environment variable that holds the key, if one is needed
    c.judge.seconds = 120.0  # a reply that takes longer is asked for again [seconds]
    c.judge.price_read = 0.0  # of a million tokens, for the estimate of the cost; 0 = unknown
    c.judge.price_written = 0.0  # of a million tokens of replies; 0 = unknown
    return c


def emotion_images() -> ConfigDict:
    """The image sets of EMO-R3, each asked for the words of its own labels."""
    c = mer_unibench()
    c.method = 'emo_r3'
    c.benchmarks = EMOTION_IMAGES
    return c


get_config = mer_unibench  # the name that --config looks for in a file
