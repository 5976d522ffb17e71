"""Default configs of EMO-R3 and of its baseline; files of configs/ import these functions."""

from ml_collections import ConfigDict

from mer_jax.data.stage.picture_words import QUESTION
from mer_jax.run.defaults import FAMILIES, adapters_alone, check_variant, small_run

EMOSET = (  # the words of EmoSet (Mikels)
    'amusement',
    'anger',
    'awe',
    'contentment',
    'disgust',
    'excitement',
    'fear',
    'sadness',
)
EMOTION6 = ('anger', 'disgust', 'fear', 'joy', 'sadness', 'surprise')
SOURCES = {  # of values of `published`; its other values are choices of this project
    'paper': ('EMO-R3', ('learn.reflection.total',)),
    'code': (
        'SeerRay-Lab/emo-r3 on GitHub, 238b27c',
        (
            *('seed', 'steps', 'prompts_per_step', 'cold_start.steps', 'every.save'),
            *('data.prompt_tokens', 'data.min_pixels', 'data.own_questions'),
            *('rollout.group', 'rollout.temperature', 'rollout.slow_tokens'),
            *('learn.train', 'learn.kl', 'learn.minibatches'),
            *('learn.clip_low', 'learn.clip_high', 'learn.clip_dual'),
            *('optim.learning_rate', 'optim.clip_norm', 'optim.weight_decay'),
            *('optim.b2', 'optim.decay_to'),
        ),
    ),
}
VARIANTS = {  # variant: the words that an answer may box
    name + ending: labels
    for name, family in FAMILIES.items()
    if family == 'vl'
    for ending, labels in (('', EMOSET), ('_emotion6', EMOTION6))
}


def emo_r3(variant: str = '') -> ConfigDict:
    """EMO-R3 on pictures of the embedded stage, or the variant of a published checkpoint.

    NAME,lora trains adapters of it in place of all weights.
    """
    if not variant:
        return stage()
    name = check_variant(variant, VARIANTS)
    c = published('vl')
    c.data.labels = VARIANTS[name]
    return adapters_alone(c) if variant != name else c


def grpo_accuracy(variant: str = '') -> ConfigDict:
    """The plain baseline: GRPO with accuracy and the form of a boxed word; no steps are asked for.

    The reflection is measured, so that its curves can be compared, and has no weight.
    """
    c = emo_r3(variant)
    c.learn.form = 'box'
    c.learn.weights = ConfigDict(dict(accuracy=0.9, reflection=0.0, format=0.1))
    if variant:
        c.data.question = (
            'Which emotion does this image evoke? Choose one of: {labels}. Think first, then give '
            'your final answer as one word in \\boxed{}.'
        )
    return c


def stage() -> ConfigDict:
    """EMO-R3 on the embedded stage: minutes on two CPU cores."""
    c = small_run()
    c.method = 'emo_r3'
    c.steps = 100
    c.model.family = 'vl'
    c.data.stage = 'home'
    c.data.labels = EMOSET  # words that an answer may box
    c.data.question = QUESTION  # {labels} is replaced by the labels
    c.data.min_pixels = c.data.max_pixels = 56 * 112
    c.data.prompt_tokens = (32, 64, 128)
    c.cold_start.steps = 200
    c.cold_start.aggregate = 'sequence'  # else the one word that answers a question hardly counts
    c.rollout.slow_tokens = 56
    c.rollout.reflection_tokens = 128  # at most, of a question of the reflection [tokens]
    c.rollout.reply_tokens = 8  # at most, of a sampled answer to it [tokens]
    c.rollout.reply_temperature = 0.6  # of sampling an answer to it
    c.rollout.reply_top_p = 0.95  # of sampling it: probability of the likeliest tokens
    c.learn.train = 'all'
    c.learn.weights = ConfigDict(
        dict(
            accuracy=0.8,  # weight of the right word
            reflection=0.1,  # weight of coherence and consistency
            format=0.1,  # weight of the form that learn.form names
        )
    )
    c.learn.form = 'steps'  # steps | box (three steps and a boxed word, or the word alone)
    c.learn.std = 'population'  # standard deviation within a group: population | unbiased
    c.learn.reflection = ConfigDict()
    c.learn.reflection.by = 'score'  # replies are scored, or drawn and read: score | sample
    c.learn.reflection.reward = 'choice'  # of reflection by scoring: choice | probability
    c.learn.reflection.truth = 'gold'  # the word that coherence looks for: gold | own
    c.learn.reflection.total = 'mean'  # of the two rewards: mean (the paper) | sum (its code)
    c.learn.reflection.of = 'both'  # the rewards that count: both | coherence | consistency
    c.learn.reflection.none = 0.5  # reward where no word is named; 0.0: as a wrong one
    c.learn.kl = 0.01
    c.learn.clip_high = 0.3
    c.learn.clip_dual = 3.0
    c.learn.minibatches = 2
    c.optim.learning_rate = 2e-4
    return c


def published(family: str) -> ConfigDict:
    """The settings of the public code (SeerRay-Lab/emo-r3 on GitHub, 238b27c), as far as they fit.

    Qwen2.5-VL-3B, vision tower trained; 512 prompts a rollout, two minibatches of 256, 8 branches,
    clip 0.2 / 0.3 / 3.0, KL 0.01, AdamW (0.9, 0.999), weight decay 0.01, constant rate 2e-6,
    gradient norm 1, temperature 1, prompts and answers of 2,048 tokens, images of at least 262,144
    pixels, seed 1, a checkpoint every 5 rollouts, 80 rollouts. The paper's sum of rewards
    is the default; that of the code is learn.reflection.total=sum. There is no cold start. Images
    have at most 1,792 tokens, so that prompts fit; the code allows 4,194,304 pixels and drops
    longer prompts. The policy is chosen on validation clips, there on the test split. The
    question says in our words what the published one says; it is asked in place of the problems of
    a list, which name neither steps nor box and which the test split lacks.
    """
    c = stage()
    c.seed = 1
    c.steps = 80
    c.prompts_per_step = 512
    c.model.family = family
    c.model.dtype = 'bfloat16'
    c.model.text = c.model.vision = c.model.audio = ConfigDict()  # sizes of the checkpoint
    c.data.prompt_tokens = (768, 1280, 2048)
    c.data.min_pixels = 262_144
    c.data.max_pixels = 1792 * 28 * 28
    c.data.question = (
        'Which emotion does this image evoke? Choose one of: {labels}. Think about its emotional '
        'meaning step by step before you answer. Inside <step1></step1> name what triggers the '
        'emotion: actions, faces, the surroundings. Inside <step2></step2> say how a person who '
        'sees it would feel. Inside <step3></step3> say whether the feeling is positive or '
        'negative, and its arousal high or low. Then give your final answer as one word in '
        '\\boxed{}.'
    )
    c.data.own_questions = False
    c.cold_start.steps = 0
    c.cold_start.towers = False
    c.rollout.slow_tokens = 2048
    c.rollout.reflection_tokens = 2048
    c.rollout.reply_tokens = 2048
    c.learn.microbatch = 1
    c.learn.lengths = (512, 1024)
    c.optim.learning_rate = 2e-6
    c.optim.b2 = 0.999
    c.optim.weight_decay = 0.01
    c.optim.warmup = 0
    c.optim.decay_to = 1.0
    c.evaluate.batch = 32
    c.every.save = 5
    c.every.validate = 10
    c.validation.clips = 256
    c.evaluate.policy = 'best'
    c.mesh.update(data=0, fsdp=-1)
    c.mesh.rules.embed = 'fsdp,data'
    c.export = True
    return c


get_config = emo_r3
