"""The reference implementation computes what the M-SENA framework computes, so it is a fair opponent and an oracle."""

import json
import re
from dataclasses import replace

import oracle_files
import pytest
import torch

from benchmarks.corpus import mosi_sized, random_tokens
from benchmarks.reference import MOSI, NAMES, Items, build, loader, trainer
from benchmarks.reference import misa as reference_misa
from benchmarks.reference.lf_dnn import LFDNN
from benchmarks.reference.mult import MulT
from benchmarks.reference.self_mm import TASKS, LabelMaker
from benchmarks.reference.tfn import TFN
from powmix.data.splits import MODALITIES

MULT_NAMES = (
    (r"^proj_([lav])\.weight", r"project.\1.weight"),
    (r"^trans_([lav])_with_([lav])\.", r"cross.\1_with_\2."),
    (r"^trans_([lav])_mem\.", r"memory.\1."),
    (r"self_attn", "attention"),
    (r"layer_norms\.0", "norm_1"),
    (r"layer_norms\.1", "norm_2"),
    (r"layer_norm\.", "norm."),
    (r"fc([12])", r"linear_\1"),
    (r"^proj([12])\.", r"linear_\1."),
    (r"^out_layer", "out"),
    (r"(?<=[._])l(?=[._])", "text"),
    (r"(?<=[._])a(?=[._])", "audio"),
    (r"(?<=[._])v(?=[._])", "vision"),
)
SUBNET_NAMES = (
    (r"^audio_subnet\.", "audio."),
    (r"^video_subnet\.", "vision."),
    (r"^text_subnet\.", "text."),
    (r"^post_fusion_layer_", "post.linear_"),
)


def stored(name):
    """An oracle's configuration, its weights, inputs and outputs."""
    arrays = oracle_files.read(name)
    parts = {
        part: {key[len(part) :]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith(part)}
        for part in ("w/", "in/", "out/")
    }
    return json.loads(str(arrays["config"])), *parts.values()


def renamed(weights, rules):
    result = {}
    for name, value in weights.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    return result


def dims(config):
    return dict(zip(MODALITIES, config["dims"]))


@pytest.mark.parametrize("setting", ["aligned", "unaligned"])
def test_mult_gives_the_frameworks_vectors_and_prediction(setting):
    config, weights, inputs, expected = stored(f"mult_{setting}")
    kernels = {f"conv1d_kernel_size_{letter}": size for letter, size in zip("lav", config["kernels"])}
    model = MulT(dims(config), (config["d"], config["heads"]), config["layers"], **kernels).eval()
    unused = ("version", *(f"project.{name}.weight" for name, size in dims(config).items() if size == config["d"]))
    named = renamed(weights, MULT_NAMES)
    model.load_state_dict({name: value for name, value in named.items() if not name.endswith(unused)})
    output = model(inputs)
    for modality in MODALITIES:
        torch.testing.assert_close(output[modality], expected[f"h_{modality}"])
    torch.testing.assert_close(output["M"], expected["y"])


@pytest.mark.parametrize(("name", "cls"), [("lf_dnn", LFDNN), ("tfn", TFN)])
def test_lf_dnn_and_tfn_give_the_frameworks_prediction(name, cls):
    config, weights, inputs, expected = stored(name)
    model = cls(dims(config), config["hidden_dims"], config["text_out"], config["post_fusion_dim"], (0.0,) * 4).eval()
    model.load_state_dict(renamed(weights, SUBNET_NAMES))
    torch.testing.assert_close(model(inputs)["M"], expected["y"])


def test_misa_gives_the_frameworks_losses():
    _, _, inputs, expected = stored("misa_losses")
    letters = {"private": "p", "shared": "s", "reconstructed": "r", "projected": "o"}
    vectors = {kind: {name: inputs[letter + name[0]] for name in MODALITIES} for kind, letter in letters.items()}
    losses = reference_misa.auxiliary_losses(vectors)
    torch.testing.assert_close(losses["difference"], expected["diff"])
    torch.testing.assert_close(losses["similarity"], expected["cmd"])
    torch.testing.assert_close(losses["reconstruction"], expected["recon"])


def test_self_mm_moves_its_labels_as_the_framework_does():
    config, _, inputs, expected = stored("self_mm_ulgm")
    names = dict(zip(TASKS, ("fusion", "text", "audio", "vision")))
    maker = LabelMaker(inputs["y"], {task: config["dims"][name] for task, name in names.items()}, config["H"])
    for number in range(config["epochs"] * config["batches_per_epoch"]):
        index = inputs[f"{number}/index"]
        for place, (task, name) in enumerate(names.items()):
            error = (inputs[f"{number}/pred_{name}"].flatten() - maker.labels[task][index]).abs()
            loss = (maker.weights(task, index) * error).mean()
            torch.testing.assert_close(loss.double(), expected["losses"][number, place], rtol=1e-5, atol=1e-6)
        features = {task: inputs[f"{number}/feature_{name}"] for task, name in names.items()}
        maker.observe(features, index, 1 + number // config["batches_per_epoch"])
        labels = torch.stack([maker.labels[task] for task in TASKS])
        torch.testing.assert_close(labels, expected[f"{number}/labels"], rtol=1e-4, atol=1e-5)


PUBLISHED = {"mult": 2571551, "lf_dnn": 597171, "tfn": 9497045 - 2}


@pytest.mark.parametrize("name", PUBLISHED)
def test_models_have_the_published_number_of_parameters(name):
    model = build(name, {"text": 768, "audio": 5, "vision": 20})
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[name]


TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def small(name):
    """The MOSI recipe, at a size and a rate that a test can learn with, stepped after every batch."""
    recipe = MOSI[name]
    model = dict(recipe.model)
    model |= {"mult": {"dst_feature_dim_nheads": (8, 2), "nlevels": 1}, "tfn": {"text_out": 4}}.get(name, {})
    groups = {part: ({"misa": 3e-4, "mag_bert": 0.01}.get(name, 0.003), 0.0) for part in recipe.groups}
    return replace(recipe, model=model, groups=groups, accumulate=1, batch_size=8)


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_model_learns_its_few_examples(name):
    splits, recipe = mosi_sized("aligned", 16), small(name)
    torch.manual_seed(0)
    items = Items(splits.train, tokens=recipe.tokens, average=recipe.average)
    learner = trainer(name, build(name, splits.dims, recipe, TINY), splits.train.target, recipe)
    before = learner.evaluate(loader(items, 8))
    for number in range(1, 13):
        learner.epoch(loader(items, 8), number)
    assert learner.evaluate(loader(items, 8)) < 0.95 * before


def test_gradients_are_summed_over_a_group_and_an_incomplete_group_is_dropped():
    splits, recipe = mosi_sized("aligned", 24), replace(small("lf_dnn"), accumulate=2)
    learner = trainer("lf_dnn", build("lf_dnn", splits.dims, recipe), splits.train.target, recipe)
    steps = []
    learner.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    learner.epoch(loader(Items(splits.train, average=True), 8))
    assert len(steps) == 1


def test_random_tokens_are_as_long_as_mosis_on_average():
    tokens = random_tokens(4000, 50, torch.Generator().manual_seed(0))
    lengths = tokens[:, 1].sum(-1).double()
    assert 14.3 < lengths.mean() < 15.3 and lengths.min() >= 3 and lengths.max() <= 50
    last = tokens[torch.arange(4000), 0, lengths.long() - 1]
    assert (tokens[:, 0, 0] == 101).all() and (last == 102).all()
