"""What a stage means, as 64 hexadecimal digits: the same meaning is made once, another one never mixes in.

A fingerprint is the SHA-256 of the canonical JSON of the settings that change what a stage computes, its
`STAGE_VERSIONS` entry and its inputs' fingerprints. Settings at their default are left out, so that a new
setting changes no old fingerprint; settings that only count units are left out, so that more units extend a
folder. Names derive from fingerprinted settings alone.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from padray.config import Config
from padray.evaluation.published import DEFAULT, PROTOCOLS, Protocol
from padray.evaluation.settings import OWN, EvaluationSettings
from padray.settings.sections import Section

STAGE_VERSIONS = dict.fromkeys(
    ("data", "scores", "keep", "experts", "distill", "set", "evaluation", "search", "report", "study"), 1
) | {"scores": 2, "distill": 3, "evaluation": 3, "search": 3, "report": 3}
FOLDERS = {
    "data": "datasets",
    "scores": "scores",
    "keep": "keeplists",
    "experts": "experts",
    "distill": "distilled",
    "evaluation": "evaluations",
    "search": "searches",
    "report": "reports",
    "study": "studies",
}
# Settings of the evaluation that do not judge what is made while distilling and searching.
_NOT_JUDGING = frozenset({"protocol", "teacher", "controls", "double_training"})
_JUDGING = asdict(PROTOCOLS[DEFAULT])  # a protocol's values that are these are left out, like settings at their default


@dataclass(frozen=True)
class Identity:
    """A stage's place in storage: `<folder>/<name>-<first 12 digits of the fingerprint>`."""

    stage: str
    name: str
    fingerprint: str

    @property
    def folder(self) -> str:
        return f"{FOLDERS[self.stage]}/{self.name}-{self.fingerprint[:12]}"


def stage_of(path: str) -> str:
    """The stage that an artefact's folder belongs to; of what is no such folder, the path itself."""
    room = path.split("/")[0]
    return next((stage for stage, own in FOLDERS.items() if own == room), path)


def fingerprint(stage: str, meaning: dict[str, Any], inputs: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a stage's meaning and its inputs."""
    content = {"stage": stage, "version": STAGE_VERSIONS[stage], "meaning": meaning, "inputs": inputs}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def meaning(section: Section, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The settings of a section that are not at their default and change what is computed."""
    return section.model_dump(mode="json", exclude_defaults=True, exclude=set(section.UNITS | without))


def _common(config: Config, stage: Any) -> dict[str, Any]:
    seed = config.seed_of(stage)
    return {**meaning(config.compute), **({"seed": seed} if seed else {})}


def data_identity(config: Config, source_digest: str) -> Identity:
    """The stored dataset: its settings and the digest of the source's bytes."""
    return Identity("data", config.data.dataset, fingerprint("data", meaning(config.data), {"source": source_digest}))


def scores_identity(config: Config, data: Identity) -> Identity:
    """The scores' folder. A table has a column for each method, so the method is no part of it; a file is its bytes."""
    settings, inputs = config.scores, {"data": data.fingerprint}
    if settings.method == "file":
        ranking = {"method": "file", "digest": settings.digest}
        return Identity("scores", f"{data.name}-file", fingerprint("scores", ranking, inputs))
    own = {**meaning(settings, without=frozenset({"method"})), **_common(config, "scores")}
    return Identity("scores", f"{data.name}-{settings.network.label}", fingerprint("scores", own, inputs))


def keep_identity(config: Config, data: Identity) -> Identity | None:
    """The keep-list of these settings; None where every sample is kept. It means its file, and its shares by score."""
    schedule = config.schedule
    if not schedule.keeps_a_part:
        return None
    inputs: dict[str, Any] = {"data": data.fingerprint}
    own = {key: value for key, value in meaning(schedule).items() if key.startswith(("prune_", "keep_"))}
    if schedule.prunes:
        own["ranked_by"] = config.scores.method
        inputs |= _scores_used(config, data)
    return Identity("keep", data.name, fingerprint("keep", own, inputs))


def _scores_used(config: Config, data: Identity) -> dict[str, Any]:
    """The scores, and of how many networks they are the mean."""
    networks = 0 if config.scores.method == "file" else config.scores.networks
    return {"scores": scores_identity(config, data).fingerprint, "scoring_networks": networks}


def experts_identity(config: Config, data: Identity) -> Identity:
    """The experts' folder; a schedule that leaves samples out also means its scores: which, of how many networks."""
    if config.experts.imported is not None:  # nothing of how others trained them is known
        known = {"imported": config.experts.imported, **meaning(config.compute), "network": meaning(config.network)}
        name = f"{data.name}-{config.network.label}-imported"
        return Identity("experts", name, fingerprint("experts", known, {"data": data.fingerprint}))
    own: dict[str, Any] = {
        **meaning(config.experts),
        **_common(config, "experts"),
        "network": meaning(config.network),
    }
    inputs: dict[str, Any] = {"data": data.fingerprint}
    if config.schedule.needs_scores:
        own |= {"schedule": meaning(config.schedule), "ranked_by": config.scores.method}
        inputs |= _scores_used(config, data)
    elif config.schedule.keep_list is not None:
        own["schedule"] = meaning(config.schedule)
    return Identity("experts", f"{data.name}-{config.network.label}", fingerprint("experts", own, inputs))


@dataclass(frozen=True)
class DistillInputs:
    """What a distillation is made from; experts and scores where its family needs them, a keep-list if there is one."""

    data: Identity
    experts: Identity | None = None
    scores: Identity | None = None
    keep: Identity | None = None

    def identity(self, config: Config) -> Identity:
        """The distillation's folder."""
        own = {**meaning(config.distill), **_common(config, "distill"), "network": meaning(config.network)}
        if config.distill.validation.seeds:  # iterates are judged by the evaluation's protocol, epochs of their own
            own["judging"] = _judging(config.evaluation, without=frozenset({"epochs"}))
        if self.scores is not None:
            own |= {"schedule": meaning(config.schedule), "ranked_by": config.scores.method}
        name = self.experts.name if self.experts else f"{self.data.name}-{config.network.label}-{config.distill.family}"
        digest = fingerprint("distill", own, self._meaning(config))
        return Identity("distill", f"{name}-ipc{config.distill.ipc}", digest)

    @property
    def needed(self) -> str:
        """The fingerprint of what must be there first: equal ones are made once."""
        first = [place.fingerprint for place in (self.experts, self.keep) if place is not None]
        return " ".join(first) or (self.scores or self.data).fingerprint

    def _meaning(self, config: Config) -> dict[str, Any]:
        """It means the ids of its experts, since how many there are decides which are drawn."""
        inputs = self.experts_used(config) or {"data": self.data.fingerprint}  # experts mean the data already
        if self.scores is not None:
            inputs |= _scores_used(config, self.data)
        elif self.keep is not None:  # otherwise scores and schedule say the same
            inputs["keep"] = self.keep.fingerprint
        return inputs

    def experts_used(self, config: Config) -> dict[str, Any]:
        """The experts and their ids, where there are any."""
        if self.experts is None:
            return {}
        return {"experts": self.experts.fingerprint, "expert_ids": list(range(config.experts.count))}

    def for_manifest(self, config: Config) -> dict[str, Any]:
        """The fingerprints that a manifest lists."""
        kept = {"keep": self.keep.fingerprint} if self.keep is not None else {}
        return {"data": self.data.fingerprint, **self._meaning(config), **kept}


def distill_inputs(config: Config, data: Identity) -> DistillInputs:
    """What the settings' family reads."""
    distill = config.distill
    return DistillInputs(
        data,
        experts_identity(config, data) if distill.needs_experts else None,
        scores_identity(config, data) if config.needs_scores and not distill.needs_experts else None,
        keep_identity(config, data),
    )


def set_fingerprint(distill: Identity, iterations: int) -> str:
    """A distilled set: its distillation and how far that went."""
    return fingerprint("set", {"iterations": iterations}, {"distill": distill.fingerprint})


def set_name(iterations: int) -> str:
    """What the set of so many iterations is called in its distillation's folder."""
    return f"set-{iterations:06d}"


def set_iterations(name: str) -> int | None:
    """After how many iterations the set of that name was made; None for what is no set."""
    match = re.fullmatch(r"set-(\d{1,12})", name)
    return int(match[1]) if match else None


def evaluation_identity(config: Config, source: str, name: str, inputs: dict[str, Any]) -> Identity:
    """One source of training samples (a set, random real samples, the full data) under one protocol.

    Its cells hold all metrics, so the metric is no part of it, but where it chooses a student's epoch.
    """
    evaluation = config.evaluation
    without = {"controls"} if evaluation.taught else {"controls", "teacher", "metric", "protocol"}
    without |= set() if evaluation.twice(source) else {"double_training"}
    without |= {"lr"} if evaluation.chooses_lr and source != "distilled" else set()  # theirs always is
    own = {**_trained(evaluation, evaluation.training, frozenset(without)), **_common(config, "evaluation")}
    if source == "full":
        own["epochs"] = config.evaluation.controls.full_epochs
    return Identity("evaluation", f"{source}-{name}", fingerprint("evaluation", own | {"source": source}, inputs))


def _judging(evaluation: EvaluationSettings, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """How networks are trained that choose among iterates and trials."""
    without |= {"lr"} if evaluation.chooses_lr else frozenset()  # in the end; until then it is the set's
    return _trained(evaluation, evaluation.judging, _NOT_JUDGING | without)


def _trained(evaluation: EvaluationSettings, protocol: Protocol, without: frozenset[str]) -> dict[str, Any]:
    """What an evaluation means, its protocol by its values: who sets the same values by hand means the same."""
    row = {name: value for name, value in asdict(protocol).items() if value != _JUDGING[name] and name not in without}
    usual_lr = {"usual_lr": row.pop("lr")} if "lr" in row else {}  # `lr` is what the settings say
    return {**meaning(evaluation, without=without | frozenset(OWN)), **row, **usual_lr}


def teacher_identity(config: Config, data: Identity) -> Identity:
    """The teacher of a dataset; what its students learn by is no part of it."""
    evaluation, teacher = config.evaluation, config.evaluation.teacher
    recipe = _judging(evaluation, without=frozenset({"epochs", "batch", "metric"}))
    own = meaning(teacher, without=frozenset({"temperature", "mix", "lr", "weight_decay"}))
    content = {**recipe, **_common(config, "evaluation"), "teacher": own, "source": "teacher"}
    name = f"teacher-{data.name}-{teacher.network.label}"
    return Identity("evaluation", name, fingerprint("evaluation", content, {"data": data.fingerprint}))


def search_identity(config: Config, data: Identity) -> Identity:
    """A search means its space and objective, and every setting that its trials do not choose."""
    own: dict[str, Any] = {**meaning(config.search), **_common(config, "search")}
    for name in ("network", "scores", "schedule", "experts", "distill"):
        own[name] = meaning(getattr(config, name))
    own |= {"evaluation": _judging(config.evaluation)}
    own |= {"iterations": config.distill.iterations, "experts_count": config.experts.count, "seeds": _seeds(config)}
    own["scoring_networks"] = config.scores.networks  # a trial's schedule may need scores where these settings do not
    own["space"] = [[key, spec.model_dump(mode="json")] for key, spec in config.search.space.items()]  # in its order
    name = f"{data.name}-{config.network.label}-ipc{config.distill.ipc}"
    return Identity("search", name, fingerprint("search", own, {"data": data.fingerprint}))


def _seeds(config: Config) -> list[int]:
    return [config.seed_of("scores"), config.seed_of("experts"), config.seed_of("distill")]


def chain(config: Config, source_digest: str) -> dict[str, Identity]:
    """The identities of all stages that a configuration needs up to its distillation, in their order."""
    data = data_identity(config, source_digest)
    inputs, stages = distill_inputs(config, data), {"data": data}
    if config.needs_scores:
        stages["scores"] = scores_identity(config, data)
    if inputs.keep is not None:
        stages["keep"] = inputs.keep
    if inputs.experts is not None:
        stages["experts"] = inputs.experts
    return {**stages, "distill": inputs.identity(config)}
