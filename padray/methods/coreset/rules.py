"""How samples of a class are chosen: greedy rules on embeddings and on last-layer gradients, in float64.

Of equal samples the earlier one is taken. A sample's last-layer gradient is d [1, h]^T: d = p - y, p the softmax of its
logits, y its label, h its embedding. It is that of the sample alone, so none is inflated by a short batch, and never
written out: <g_i, g_j> = <d_i, d_j> (1 + <h_i, h_j>).

Sources: herding Welling 2009; k-center Sener & Savarese 2018; CRAIG Mirzasoleiman et al. 2020; Glister Killamsetty et
al. 2021a; GradMatch Killamsetty et al. 2021b; the constants of the last three are DeepCore's.
Legend: n samples of a class, V samples that are looked at for validation, F features, K classes, S picks.
"""

from typing import NamedTuple

import torch

_ROUNDING = 1e-10  # of sums in float64
_EQUAL = 1e-12  # of two squared lengths: gradients whose squared distance is less of them are equal


class Seen(NamedTuple):
    """What a trained network says of samples: embeddings h (n, F), logits (n, K) and labels (n,)."""

    features: torch.Tensor
    logits: torch.Tensor
    labels: torch.Tensor

    @property
    def errors(self) -> torch.Tensor:
        """d = p - y, (n, K)."""
        return errors_of(self.logits, self.labels)

    @property
    def extended(self) -> torch.Tensor:
        """[1, h], (n, F + 1): what the last layer sees, its bias included."""
        return torch.cat([torch.ones_like(self.features[:, :1]), self.features], dim=1)


class Chosen(NamedTuple):
    """The places of the picks (S,) in the order in which they were taken, and their weights (S,), if there are any."""

    places: torch.Tensor
    weights: torch.Tensor | None = None


def errors_of(logits_nK: torch.Tensor, labels_n: torch.Tensor) -> torch.Tensor:
    """p - y, (n, K)."""
    return logits_nK.softmax(dim=1) - torch.nn.functional.one_hot(labels_n, logits_nK.shape[1])


def _best(values_n: torch.Tensor, taken: list[int]) -> int:
    """The first place not taken whose value is the largest, but for rounding: facility location has many true ties."""
    open_n = torch.ones(len(values_n), dtype=torch.bool)
    open_n[torch.tensor(taken, dtype=torch.int64)] = False
    reached = values_n[open_n].max() - _ROUNDING * values_n[open_n].abs().max()
    return int((open_n & (values_n >= reached)).nonzero()[0])


def random(n: int, count: int, draw: torch.Generator) -> Chosen:
    """Without replacement."""
    return Chosen(torch.randperm(n, generator=draw)[:count])


def herding(features_nF: torch.Tensor, count: int) -> Chosen:
    """The sample that brings the mean of the picks nearest to the class's, again and again.

    argmin ||(k + 1) mu - sum of the k picks - h||.
    """
    mean_F = features_nF.mean(dim=0)
    left_F, places = torch.zeros_like(mean_F), list[int]()
    for _ in range(count):
        left_F = left_F + mean_F
        places.append(_best(-(left_F - features_nF).square().sum(dim=1), places))
        left_F = left_F - features_nF[places[-1]]
    return Chosen(torch.tensor(places))


def k_center(features_nF: torch.Tensor, count: int, draw: torch.Generator) -> Chosen:
    """The sample that is farthest from all picks, again and again; the first one is drawn."""
    places = [int(torch.randint(len(features_nF), (), generator=draw))]
    nearest_n = (features_nF - features_nF[places[0]]).square().sum(dim=1)
    while len(places) < count:
        places.append(_best(nearest_n, places))
        nearest_n = torch.minimum(nearest_n, (features_nF - features_nF[places[-1]]).square().sum(dim=1))
    return Chosen(torch.tensor(places))


def hardest(scores_n: torch.Tensor, count: int) -> Chosen:
    """Those with the highest scores."""
    return Chosen(scores_n.argsort(descending=True, stable=True)[:count])


def glister(seen: Seen, held: Seen, count: int, lr: float) -> Chosen:
    """The sample whose gradient points most along the validation samples' mean gradient, again and again.

    After each pick that mean is taken anew, where the last layer would be after one step of `lr` along the mean
    gradient of all picks. With G = mean of d [1, h]^T over the validation samples, a sample's gain is d^T G [1, h].
    """
    errors_nK, extended_nE = seen.errors, seen.extended
    held_VE, places = held.extended, list[int]()
    steps_KE = extended_nE.new_zeros(errors_nK.shape[1], extended_nE.shape[1])
    for _ in range(count):
        moved_VK = held.logits if not places else held.logits - lr * held_VE @ (steps_KE / len(places)).T
        mean_KE = errors_of(moved_VK, held.labels).T @ held_VE / len(held_VE)
        places.append(_best(((errors_nK @ mean_KE) * extended_nE).sum(dim=1), places))
        steps_KE = steps_KE + errors_nK[places[-1]][:, None] * extended_nE[places[-1]]
    return Chosen(torch.tensor(places))


def gram(seen: Seen) -> torch.Tensor:
    """The inner products of all last-layer gradients, (n, n)."""
    errors_nK, extended_nE = seen.errors, seen.extended
    products_nn: torch.Tensor = (errors_nK @ errors_nK.T).mul_(extended_nE @ extended_nE.T)
    return products_nn


def craig(gram_nn: torch.Tensor, count: int) -> Chosen:
    """Facility location: the sample that brings all samples nearest to their nearest pick, again and again.

    Nearness is that of gradients: the largest distance less theirs. Its weight is how many samples are nearest to it.
    """
    squares_n = gram_nn.diagonal()
    sums_nn = squares_n[:, None] + squares_n
    apart_nn = sums_nn - 2 * gram_nn
    distances_nn = apart_nn.where(apart_nn > _EQUAL * sums_nn, 0.0).sqrt_()  # what is left of equal ones is rounding
    nearest_n, places = torch.full_like(squares_n, float(distances_nn.max())), list[int]()
    for _ in range(count):
        places.append(_best(-torch.minimum(distances_nn, nearest_n[:, None]).sum(dim=0), places))
        nearest_n = torch.minimum(nearest_n, distances_nn[:, places[-1]])
    owners_n = distances_nn[:, places].argmin(dim=1)
    return Chosen(torch.tensor(places), torch.bincount(owners_n, minlength=count).double())


def gradmatch(gram_nn: torch.Tensor, count: int, ridge: float) -> Chosen:
    """Orthogonal matching pursuit of the class's mean gradient b; the weights are not negative.

    The sample along whose gradient most of what is left of b lies is taken; then the picks' weights x minimise
    ||b - A x||^2 + ridge ||x||^2, at last over x >= 0.
    """
    wanted_n, places = gram_nn.mean(dim=1), list[int]()  # A^T b
    left_n = wanted_n
    for _ in range(count):
        places.append(_best(left_n, places))
        weights_S = torch.linalg.solve(_ridged(gram_nn, places, ridge), wanted_n[places])
        left_n = wanted_n - gram_nn[:, places] @ weights_S
    return Chosen(torch.tensor(places), _not_negative(_ridged(gram_nn, places, ridge), wanted_n[places]))


def _ridged(gram_nn: torch.Tensor, places: list[int], ridge: float) -> torch.Tensor:
    return gram_nn[places][:, places] + ridge * torch.eye(len(places), dtype=gram_nn.dtype)


def _not_negative(normal_SS: torch.Tensor, wanted_S: torch.Tensor) -> torch.Tensor:
    """argmin of x^T N x / 2 - x^T w over x >= 0, (S,): with N = R^T R that is ||R x - R^-T w||."""
    from scipy.optimize import nnls  # here, for it takes a while and most methods need none

    root_SS = torch.linalg.cholesky(normal_SS, upper=True)
    target_S = torch.linalg.solve_triangular(root_SS.T, wanted_S[:, None], upper=False)[:, 0]
    weights, _ = nnls(root_SS.numpy(), target_S.numpy())
    return torch.from_numpy(weights)
