"""Coresets: every choice against another implementation, which writes out what ours never does."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from padray.config import NetworkSettings
from padray.draws import generator
from padray.experts.scorers import NEVER_LEARNED, Observed, forgetting
from padray.experts.training import Samples
from padray.methods.coreset import rules
from padray.methods.coreset.choosing import CoresetSelection
from padray.methods.coreset.rules import Seen
from padray.methods.coreset.settings import CoresetSettings
from tests.methods.given import Given

N, F, K = 14, 3, 4


def drawn(seed: int, n: int = N) -> Seen:
    draw = generator(seed, "coreset")
    features = torch.randn(n, F, generator=draw, dtype=torch.float64)
    logits = torch.randn(n, K, generator=draw, dtype=torch.float64)
    return Seen(features, logits, torch.randint(0, K, (n,), generator=draw))


def gradients(seen: Seen) -> np.ndarray:
    """Each sample's gradient of the cross entropy for the last layer's bias and weights, by autograd, (n, K + K F)."""
    rows = []
    for h, z, y in zip(seen.features, seen.logits, seen.labels, strict=True):
        weight, bias = torch.zeros(K, F, dtype=torch.float64), z.clone()  # the layer at which these logits come out
        weight.requires_grad_(), bias.requires_grad_()
        torch.nn.functional.cross_entropy((weight @ h + bias)[None], y[None]).backward()
        rows.append(torch.cat([bias.grad, weight.grad.flatten()]).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("seed", range(5))
def test_herding_takes_the_sample_that_brings_the_mean_nearest(seed):
    features = drawn(seed).features
    picked: list[int] = []
    for k in range(6):
        left = [i for i in range(N) if i not in picked]
        far = [np.linalg.norm(((k + 1) * features.mean(0) - features[[*picked, i]].sum(0)).numpy()) for i in left]
        picked.append(left[int(np.argmin(far))])
    assert rules.herding(features, 6).places.tolist() == picked
    far_first = int((features.mean(0) - features).norm(dim=1).argmax())
    assert picked[0] != far_first, "not the opposite, which DeepCore takes"


@pytest.mark.parametrize("seed", range(5))
def test_k_center_takes_the_farthest_from_a_drawn_first_one(seed):
    features = drawn(seed).features.numpy()
    places = rules.k_center(torch.from_numpy(features), 6, generator(seed, "centre")).places.tolist()
    picked = [int(torch.randint(N, (), generator=generator(seed, "centre")))]
    for _ in range(5):
        nearest = [min(np.linalg.norm(f - features[p]) for p in picked) for f in features]
        picked.append(int(np.argmax(nearest)))
    assert places == picked
    firsts = {int(rules.k_center(torch.from_numpy(features), 1, generator(s, "c")).places) for s in range(30)}
    assert len(firsts) > 5


def hessian_free_glister(seen: Seen, held: Seen, count: int, lr: float) -> list[int]:
    """By brute force: the last layer is moved for real and the validation gradient written out."""
    own = gradients(seen)
    picked: list[int] = []
    for _ in range(count):
        step = np.mean([own[i] for i in picked], axis=0) if picked else np.zeros(K + K * F)
        bias, weight = torch.from_numpy(step[:K]), torch.from_numpy(step[K:].reshape(K, F))
        moved = Seen(held.features, held.logits - lr * (bias + held.features @ weight.T), held.labels)
        wanted = gradients(moved).mean(axis=0)
        left = [i for i in range(len(own)) if i not in picked]
        picked.append(left[int(np.argmax([own[i] @ wanted for i in left]))])
    return picked


@pytest.mark.parametrize("lr", [0.1, 5.0])
@pytest.mark.parametrize("seed", range(5))
def test_glister_s_cheap_form_is_the_step_written_out(seed, lr):
    seen, held = drawn(seed), drawn(seed + 100, 9)
    assert rules.glister(seen, held, 8, lr).places.tolist() == hessian_free_glister(seen, held, 8, lr)


def test_glister_takes_one_step_along_the_mean_of_all_picks_and_looks_anew_after_each():
    seen, held = drawn(7), drawn(107, 9)
    order = rules.glister(seen, held, 8, 5.0).places.tolist()
    wanted = gradients(held).mean(axis=0)
    once = np.argsort(-(gradients(seen) @ wanted), kind="stable")[:8].tolist()
    assert order != once and order[0] == once[0]


def test_the_inner_products_are_those_of_the_gradients():
    seen = drawn(1)
    own = gradients(seen)
    assert np.allclose(rules.gram(seen).numpy(), own @ own.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_craig_is_greedy_facility_location_with_the_sizes_of_its_clusters(seed):
    seen = drawn(seed)
    own = gradients(seen)
    far = np.array([[np.linalg.norm(a - b) for b in own] for a in own])
    near = far.max() - far
    picked: list[int] = []
    for _ in range(5):
        left = [i for i in range(N) if i not in picked]
        picked.append(left[int(np.argmax(np.round([near[:, [*picked, i]].max(axis=1).sum() for i in left], 9)))])
    chosen = rules.craig(rules.gram(seen), 5)
    assert chosen.places.tolist() == picked
    owners = [int(np.argmin(far[i, picked])) for i in range(N)]
    assert chosen.weights.tolist() == [owners.count(place) for place in range(5)] and sum(chosen.weights) == N


def pursued(seen: Seen, count: int, ridge: float) -> tuple[list[int], np.ndarray]:
    """Orthogonal matching pursuit on gradients that are written out; the last weights by a general minimiser."""
    own = gradients(seen).T
    wanted, picked = own.mean(axis=1), list[int]()
    left = wanted
    for _ in range(count):
        order = np.argsort(-(own.T @ left), kind="stable")
        picked.append(next(int(i) for i in order if int(i) not in picked))
        part = np.vstack([own[:, picked], np.sqrt(ridge) * np.eye(len(picked))])
        weights = np.linalg.lstsq(part, np.concatenate([wanted, np.zeros(len(picked))]), rcond=None)[0]
        left = wanted - own[:, picked] @ weights

    def cost(x: np.ndarray) -> float:
        return float(np.sum((wanted - own[:, picked] @ x) ** 2) + ridge * np.sum(x**2))

    best = minimize(cost, np.full(count, 0.1), bounds=[(0, None)] * count, tol=1e-15, options={"maxiter": 10_000})
    return picked, best.x


@pytest.mark.parametrize("ridge", [1.0, 0.01])
@pytest.mark.parametrize("seed", range(4))
def test_gradmatch_pursues_the_mean_gradient_with_weights_that_are_not_negative(seed, ridge):
    seen = drawn(seed)
    picked, weights = pursued(seen, 5, ridge)
    chosen = rules.gradmatch(rules.gram(seen), 5, ridge)
    assert chosen.places.tolist() == picked
    assert np.allclose(chosen.weights.numpy(), weights, atol=1e-5) and float(chosen.weights.min()) >= 0


def test_a_weight_that_would_be_negative_is_nothing():
    normal, wanted = torch.tensor([[2.0, 1.9], [1.9, 2.0]]).double(), torch.tensor([1.0, 0.5]).double()
    assert torch.linalg.solve(normal, wanted)[1] < 0
    assert rules._not_negative(normal, wanted).tolist() == pytest.approx([0.5, 0.0])


def test_forgetting_counts_falls_from_right_to_wrong_and_puts_what_was_never_learned_first():
    right = torch.tensor(
        [
            # always, falls twice, falls once, never, learned late, falls once with a larger loss
            [1, 1, 1, 0, 0, 1],
            [1, 0, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 1],
            [1, 0, 1, 0, 1, 1],
        ]
    ).bool()
    losses = torch.tensor([[0.1, 0.1, 0.1, 0.1, 0.1, 0.9]]).double().expand(4, 6)
    nothing = torch.zeros(6, 2).double()
    seen = Observed(nothing, nothing[:, 0], torch.zeros(6, dtype=torch.int64), right, losses, nothing[:, 0])
    counts = forgetting(seen)
    assert [int(one) for one in counts] == [0, 2, 1, NEVER_LEARNED, 0, 1]
    assert rules.hardest(counts, 6).places.tolist() == [3, 1, 5, 2, 0, 4]


EACH: dict[str, Callable[[Seen, int], rules.Chosen]] = {
    "herding": lambda seen, count: rules.herding(seen.features, count),
    "glister": lambda seen, count: rules.glister(seen, seen, count, 0.1),
    "craig": lambda seen, count: rules.craig(rules.gram(seen), count),
    "gradmatch": lambda seen, count: rules.gradmatch(rules.gram(seen), count, 1.0),
    "hardest": lambda seen, count: rules.hardest(seen.features[:, 0], count),
}


@pytest.mark.parametrize("rule", EACH)
def test_samples_in_another_order_are_chosen_as_themselves(rule):
    seen = drawn(11)
    order = torch.randperm(N, generator=generator(1, "order"))
    places = EACH[rule](seen, 6).places
    moved = EACH[rule](Seen(*(part[order] for part in seen)), 6).places
    assert order[moved].tolist() == places.tolist()


@pytest.mark.parametrize("rule", EACH)
def test_of_equal_samples_the_earlier_one_is_taken_and_none_twice(rule):
    seen = drawn(12)
    alike = Seen(*(torch.cat([part, part]) for part in seen))
    places = EACH[rule](alike, 2 * N).places.tolist()
    assert sorted(places) == list(range(2 * N))
    assert all(places.index(i) < places.index(i + N) for i in range(N))


# -- the family


def given(validation: bool = False, rows: torch.Tensor | None = None) -> Given:
    draw = generator(3, "given")
    labels = torch.arange(60) % 3
    images = torch.randn(60, 1, 8, 8, generator=draw, dtype=torch.float64) + labels[:, None, None, None]
    made = Given(NetworkSettings(), (1, 8, 8), 3, images=images, labels=labels, rows=rows)
    if validation:
        made.held = Samples(images[:9].flip(0) * 0.3, labels[:9].flip(0))
    return made


SCORING = {"network": {"name": "mlp", "width": 8, "depth": 1}, "epochs": 3, "batch": 16, "lr": 0.05}


def settings(method: str, **values: object) -> CoresetSettings:
    return CoresetSettings.model_validate(
        {"family": "coreset", "method": method, "ipc": 4, "scoring": SCORING, **values}
    )


METHODS = ("random", "herding", "k_center", "forgetting", "glister", "craig", "gradmatch")


@pytest.mark.parametrize("method", METHODS)
def test_a_unit_has_samples_of_its_class_and_of_the_keep_list_and_the_set_is_them(method):
    rows = torch.arange(0, 60, 2)
    materials = given(rows=rows)
    chooser = CoresetSelection(settings(method), materials)
    units = [chooser.make(number) for number in range(3)]
    alone = CoresetSelection(settings(method), materials).make(2)
    assert all(torch.equal(alone[name], part) for name, part in units[2].items()), "a function of its number alone"
    for number, unit in enumerate(units):
        assert set(unit["rows"].tolist()) <= set(rows.tolist()) and len(set(unit["rows"].tolist())) == 4
        assert set(materials.labels[unit["rows"]].tolist()) == {number}
    learned, selected = chooser.assemble(units), chooser.selected(units)
    assert torch.equal(learned.images, materials.images[selected.rows]) and learned.lr is None
    assert learned.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert (selected.weights is not None) == (method in ("craig", "gradmatch"))


def test_methods_differ_and_so_do_seeds_where_chance_has_a_part():
    def rows(method: str, seed: int = 0, **values: object) -> list[int]:
        materials = given()
        materials.seed = seed
        return CoresetSelection(settings(method, **values), materials).make(0)["rows"].tolist()

    chosen = {method: tuple(rows(method)) for method in METHODS}
    assert len(set(chosen.values())) == len(METHODS)
    assert all(rows(method) != rows(method, 1) for method in METHODS)
    assert rows("glister") != rows("glister", glister_lr=100.0)


def trained(materials: Given, **values: object) -> torch.Tensor:
    """The scoring network's parameters, (P,)."""
    network = CoresetSelection(settings("herding", **values), materials).scored.network
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize(
    "values",
    [{"scoring": SCORING | one} for one in ({"nesterov": False}, {"weight_decay": 0.3}, {"momentum": 0.0}, {"lr": 0.1})]
    + [{"augment": "flip"}],
)
def test_every_setting_of_scoring_changes_the_network_that_is_looked_at(values):
    assert not torch.equal(trained(given()), trained(given(), **values))


def test_the_scoring_network_knows_the_keep_list_alone():
    rows = torch.arange(0, 60, 2)
    apart = given()
    apart.images, apart.labels = apart.images[rows], apart.labels[rows]
    assert torch.equal(trained(given(rows=rows)), trained(apart))


def test_glister_asks_the_validation_split_where_there_is_one():
    unit, other = (CoresetSelection(settings("glister"), given(validation)).make(0)["rows"] for validation in (0, 1))
    assert unit.tolist() != other.tolist()


def test_gradients_are_of_single_samples_whatever_part_they_are_looked_at_in(monkeypatch):
    from padray.methods.coreset import choosing

    chooser = CoresetSelection(settings("craig"), given())
    samples = Samples(chooser.materials.images, chooser.materials.labels)
    whole = chooser._look(samples)
    monkeypatch.setattr(choosing, "_PART", 7)
    parts = chooser._look(samples)
    assert all(torch.allclose(a.double(), b.double(), atol=1e-12) for a, b in zip(whole, parts, strict=True))


def test_what_is_distilled_elsewhere_cannot_be_set_here():
    for key, value in (("lr_images", 1.0), ("ema_decay", 0.5), ("iterations", 2), ("momentum_images", 0.5)):
        with pytest.raises(ValueError, match=key):
            settings("random", **{key: value})
    with pytest.raises(ValueError, match="a coreset has no iterates to judge"):
        settings("random", validation={"seeds": 1})


def test_the_best_pair_is_not_missed_by_much():
    """A greedy choice reaches at least (1 - 1/e) of the best facility location of that size."""
    own = gradients(drawn(5))
    far = np.linalg.norm(own[:, None] - own, axis=2)
    near = far.max() - far
    best = max(near[:, list(pair)].max(axis=1).sum() for pair in itertools.combinations(range(N), 2))
    greedy = near[:, rules.craig(rules.gram(drawn(5)), 2).places.tolist()].max(axis=1).sum()
    assert best >= greedy >= (1 - 1 / np.e) * best
