"""The program that a report and an export print: it trains the network of the run on the set, without padray.

It says in plain PyTorch what evaluation/, experts/ and data/augment.py do; its draws are PyTorch's own, so that a
network is another one, of the same kind.
"""

import textwrap
from collections.abc import Sequence

from torch import nn

from padray.config import Config
from padray.evaluation.published import Protocol
from padray.experts.decay import COSINE_END, first_of_half
from padray.networks import factory
from padray.synthetic.set import USUAL_LR, SyntheticSet

_REAL = {  # what a sample must go through before a network sees it, images as floats in [0, 1]
    "normalize": "mean, std = (fitted[name].view(-1, 1, 1) for name in ('mean', 'std'))\nreturn (x - mean) / std",
    "zca": "return ((x.flatten(1) - fitted['mean']) @ fitted['whiten']).view_as(x)",
    "none": "return x",
}
_OPERATIONS = {
    "color": (
        "u = torch.rand(3, n, 1, 1, 1)\n"
        "x = x + u[0] - 0.5\n"
        "x = torch.lerp(x.mean(1, keepdim=True), x, 2 * u[1])\n"
        "x = torch.lerp(x.mean((1, 2, 3), keepdim=True), x, u[2] + 0.5)"
    ),
    "crop": "x = shifted(x, 'constant')",
    "reflectcrop": "x = shifted(x, 'reflect')",
    "cutout": (
        "sides = [int(0.5 * side + 0.5) for side in (h, w)]\n"
        "at = (torch.randint(side + 1 - cut % 2, (n,)) for side, cut in zip((h, w), sides))\n"
        "for image, i, j in zip(x := x.clone(), *at):\n"
        "    top, left = int(i) - sides[0] // 2, int(j) - sides[1] // 2\n"
        "    bottom, right = max(0, top + sides[0]), max(0, left + sides[1])\n"
        "    image[:, max(0, top) : bottom, max(0, left) : right] = 0"
    ),
    "flip": "x = torch.where(torch.rand(n, 1, 1, 1) < 0.5, x.flip(3), x)",
    "scale": ("a, b = (1 / 1.2 + (1.2 - 1 / 1.2) * torch.rand(2, n)).unbind()\nx = resampled(x, a, 0 * a, 0 * a, b)"),
    "rotate": (
        "angle = (2 * torch.rand(n) - 1) * 15 * torch.pi / 180\n"
        "x = resampled(x, angle.cos(), -angle.sin(), angle.sin(), angle.cos())"
    ),
}
_SHIFTED = '''
def shifted(x, beyond):
    """Each image moved by up to an eighth of its side; in comes black, or the image again."""
    n, _, h, w = x.shape
    r, c = int(h / 8 + 0.5), int(w / 8 + 0.5)
    windows = F.pad(x, (c, c, r, r), beyond).unfold(2, h, 1).unfold(3, w, 1)
    i, j = (torch.randint(2 * most + 1, (n,)) for most in (r, c))
    return windows[torch.arange(n), :, i, j]

'''
_RESAMPLED = '''
def resampled(x, a, b, c, d):
    """Each image seen through a matrix of its own."""
    zero = 0 * a
    matrices = torch.stack([a, b, zero, c, d, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrices, x.shape, align_corners=True)
    return F.grid_sample(x, grid, align_corners=True)

'''
_DECAYED = {
    "none": "LR",
    "half": "LR if epoch < {half} else LR / 10",
    "sixths": "LR * 0.2 ** ((epoch >= 2 * EPOCHS // 3) + (epoch >= 5 * EPOCHS // 6))",
    "cosine": "{end} + (LR - {end}) * (1 + math.cos(math.pi * (epoch + share) / EPOCHS)) / 2",
}


def training_code(load: str, config: Config, synthetic: SyntheticSet, noun: str = "image") -> str:
    """The program, whose `train(seed)` gives a trained network.

    Args:
        load: its part that finds the files: it defines `fitted`, the tensors of the preprocessing by their names,
            and, by `preprocess` where it has to, `images`, `labels` (probabilities, or class indices) and `LR`.
    """
    protocol = protocol_of(config)
    shape = tuple(synthetic.facts["shape"])
    what = (
        f"real {noun}s ({'N, C, H, W) in [0, 1]' if noun == 'image' else 'N, C, H, W)'}, before the network sees them"
    )
    parts = [
        "import math\n" * (protocol.decay == "cosine") + "import torch\nfrom torch.nn import functional as F\n",
        f"\ndef preprocess(x):  # {what}\n{textwrap.indent(_REAL[synthetic.preprocessing.kind], '    ')}\n",
        f"\n{load}\n",
        _network(config, (shape[0], shape[1], shape[2]), synthetic.classes),
        _augmented(protocol.augment),
        _train(protocol),
        _ending(config, shape, noun),
    ]
    return "\n".join(parts)


def protocol_of(config: Config) -> Protocol:
    """How the networks of the proof were trained; where a teacher labelled every batch, how iterates are judged."""
    return config.evaluation.judging if config.evaluation.taught else config.evaluation.training


def remarks(config: Config) -> str:
    """What the program leaves out of the protocol, as sentences; nothing where it is the protocol."""
    said = []
    if config.evaluation.taught:
        said.append("The numbers above come from networks that a teacher taught; here they learn from the set alone.")
    if protocol_of(config).cutmix:
        said.append("CutMix is left out here.")
    if config.evaluation.chooses_lr:
        said.append("The numbers above come from the lr that did best on validation; here it is the set's own.")
    if config.evaluation.double_training:
        said.append("The numbers above come from networks that were trained twice over, these are trained once.")
    return " ".join(said)


def lr_text(config: Config, synthetic: SyntheticSet, learned: str) -> str:
    """What networks are trained with on the set: `learned` names the lr that it brings."""
    if config.evaluation.fixed_lr is not None:
        return f"{config.evaluation.fixed_lr:g}"
    if synthetic.learned.lr is not None:
        return learned
    return f"{USUAL_LR if config.evaluation.taught else config.evaluation.training.lr:g}"


def safetensors_load(path: str, config: Config, synthetic: SyntheticSet, fitted: str | None = None) -> str:
    """How the set is read from the file in which it is stored.

    Args:
        fitted: the file of its preprocessing, where that is not in the set's.
    """
    soft = "t['labels'].softmax(dim=1)  # they are raw logits" if synthetic.learned.soft else "t['labels']  # classes"
    also = f" | load_file(\n    {fitted!r}\n)" if fitted else ""
    return (
        f"from safetensors.torch import load_file\n\nt = load_file(\n    {path!r}\n){also}\n"
        f"fitted = {{name: t[f'preprocessing.{{name}}'] for name in {_needed(synthetic)}}}\n"
        f"images, labels = t['images'], {soft}\n"
        f"LR = {lr_text(config, synthetic, 'float(t[' + repr('lr') + '])')}"
    )


def _needed(synthetic: SyntheticSet) -> tuple[str, ...]:
    return {"normalize": ("mean", "std"), "zca": ("mean", "whiten")}.get(synthetic.preprocessing.kind, ())


def _network(config: Config, shape: tuple[int, int, int], classes: int) -> str:
    """Layer by layer, where it is a row of PyTorch's own; otherwise padray builds it."""
    built = factory.build(config.network, shape, classes, 0)
    layers = [*getattr(built, "features", nn.Sequential()), built.classifier]
    if all(type(layer).__module__.startswith("torch.nn.") and not list(layer.children()) for layer in layers):
        text = "\n".join(f"        torch.nn.{layer!r}," for layer in layers)
        return f"\ndef network():  # {config.network.label}\n    return torch.nn.Sequential(\n{text}\n    )\n"
    settings = config.network.model_dump(mode="json", exclude_defaults=True)
    return (
        f"\ndef network():  # {config.network.label}: padray has to be installed\n"
        f"    from padray.networks import factory\n    from padray.networks.settings import NetworkSettings\n\n"
        f"    settings = NetworkSettings(**{settings})\n"
        f"    return factory.build(settings, {shape}, {classes}, int(torch.randint(2**31, ())))\n"
    )


def _augmented(strategy: str) -> str:
    """One operation of each step for a batch, with numbers of its own for every image."""
    if strategy == "none":
        return "\ndef augmented(x):\n    return x\n"
    steps = [step.split("_") for step in strategy.split("+")]
    used = {name for step in steps for name in step}
    helpers = _SHIFTED * bool(used & {"crop", "reflectcrop"}) + _RESAMPLED * bool(used & {"scale", "rotate"})
    lines = ["def augmented(x):  # a batch: one operation for all, with numbers of its own for each"]
    lines.append("    n, _, h, w = x.shape")
    for step in steps:
        lines.append(f"    one = {step!r}[int(torch.randint({len(step)}, ()))]")
        for place, name in enumerate(step):
            lines.append(f"    {'el' * (place > 0)}if one == {name!r}:")
            lines.append(textwrap.indent(_OPERATIONS[name], " " * 8))
    return f"{helpers}\n" + "\n".join([*lines, "    return x"]) + "\n"


def _train(protocol: Protocol) -> str:
    decayed = _DECAYED[protocol.decay].format(half=first_of_half(protocol.epochs), end=COSINE_END)
    fresh = f"epoch in (0, {first_of_half(protocol.epochs)})" if protocol.decay == "half" else "epoch == 0"
    batches = "enumerate(batches)" if protocol.decay == "cosine" else "batches"
    each = "k, ids" if protocol.decay == "cosine" else "ids"
    share = "            share = k / len(batches)\n" * (protocol.decay == "cosine")
    nesterov = ", nesterov=True" * protocol.nesterov
    return f'''
EPOCHS, BATCH = {protocol.epochs}, {protocol.batch}


def train(seed):
    """A fresh network, trained on the set as the networks of the proof were."""
    torch.manual_seed(seed)
    model = network()
    for epoch in range(EPOCHS):
        if {fresh}:
            sgd = torch.optim.SGD(
                model.parameters(), LR, momentum={protocol.momentum:g}, weight_decay={protocol.weight_decay:g}{nesterov}
            )
        batches = torch.randperm(len(images)).split(BATCH)
        for {each} in {batches}:
{share}            sgd.param_groups[0]["lr"] = {decayed}
            sgd.zero_grad()
            F.cross_entropy(model(augmented(images[ids])), labels[ids]).backward()
            sgd.step()
    return model.eval()
'''


def _ending(config: Config, shape: Sequence[int], noun: str) -> str:
    """What it does as a program: one network, and how to go on with it, which whoever ran it would have to guess."""
    name, real = (
        config.network.label,
        f"real {noun}s x (N, {', '.join(map(str, shape))}){' in [0, 1]' * (noun == 'image')}",
    )
    return f'''
if __name__ == "__main__":
    trained = train(seed=0)
    classes = labels if labels.ndim == 1 else labels.argmax(dim=1)
    known = (trained(images).argmax(dim=1) == classes).float().mean()
    print(f"{name} after {{EPOCHS}} epochs on the set:")
    print(f"it knows {{known:.0%}} of its {{len(images)}} {noun}s")
    print("started by python -i, go on with trained(preprocess(x)).argmax(dim=1):")
    print("the classes of {real}")
'''
