"""What an audit found, as it stands in the dataset beside the version that it is about: `_audit/v00000001.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import CorruptData, NotFound
from ..rng import canonical_json
from ..storage import Store

FORMAT_VERSION = 1
Judgement = Literal["pass", "fail", "inconclusive", "semantic"]
#: void: a small network does no better than chance; leaky: no better than the artefacts.
Meaning = Literal["meaningful", "void", "leaky", "inconclusive", "skipped"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FamilyReport(_Record):
    """How well one family of cues tells one label, on sources that were not learnt from.

    Attributes:
        family, about: which cues.
        target: the label column; `same` where pairs of one source are told from pairs of two.
        measure: `accuracy` over chance, or `r2`.
        score, low, high: 0 = chance, 1 = always right, and the 95 % interval.
        control: the score on permuted labels; its interval holds 0 where the probe is sound.
        p_holm: of the hypothesis that the true score is at most 0.02, adjusted for all families.
        verdict: `semantic` marks legitimate cues, whatever they tell.
        num_missing: about how many more examples would decide; 0 where it is decided.
    """

    family: str
    about: str
    target: str
    measure: Literal["accuracy", "r2"]
    score: float
    low: float
    high: float
    control: float
    p_holm: float
    num_examples: int
    num_groups: int
    verdict: Judgement
    num_missing: int


class TrivialReport(_Record):
    """What a predictor that has learnt nothing makes of a task without a label.

    Attributes:
        predictor: mean, copy_last, border, ...
        skill: 1 - squared error over the spread around what is visible; 0 or less: no better than a constant.
        skill_low, skill_high: its 95 % interval.
        solved: share of the examples that it solves; solved_low, solved_high its 95 % interval.
        verdict: `fail` where surely more than half of the examples are solved.
    """

    predictor: str
    skill: float
    skill_low: float
    skill_high: float
    solved: float
    solved_low: float
    solved_high: float
    num_examples: int
    num_groups: int
    verdict: Judgement


class MeaningReport(_Record):
    """Whether a small network learns anything from the label here.

    Attributes:
        verdict: see `Meaning`.
        score, low, high: of the network on sources that it did not learn from; all 0 where it was skipped.
        best_artefact: name of the artefact family that does best, and `best_artefact_high` its upper bound.
        message: what the verdict means, in one sentence.
    """

    verdict: Meaning
    score: float = 0.0
    low: float = 0.0
    high: float = 0.0
    num_examples: int = 0
    best_artefact: str = ""
    best_artefact_high: float = 0.0
    message: str


class AuditReport(_Record):
    """An audit of one version. `num_examples` of `num_dataset_examples` were looked at."""

    format_version: int = FORMAT_VERSION
    dataset: str
    version: int
    fingerprint: str
    task: str
    objective: str
    verdict: Literal["pass", "fail", "inconclusive"]
    meaning: MeaningReport
    families: tuple[FamilyReport, ...]
    trivial: tuple[TrivialReport, ...]
    num_dataset_examples: int
    num_examples: int
    num_groups: int
    seconds: float

    @property
    def worst_first(self) -> list[FamilyReport]:
        """The families: what fails, then inconclusive, passing, semantic; by falling score within each."""
        order = {"fail": 0, "inconclusive": 1, "pass": 2, "semantic": 3}
        return sorted(self.families, key=lambda one: (order[one.verdict], -one.score))

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of what failed."""
        names = [one.family for one in self.families if one.verdict == "fail"]
        return tuple(names + [f"trivial {one.predictor}" for one in self.trivial if one.verdict == "fail"])


def verdicts_key(version: int) -> str:
    """Return where a version's audit stands in the dataset."""
    return f"_audit/v{version:08d}.json"


def store_verdicts(store: Store, report: AuditReport) -> None:
    """Keep a report in the dataset, in the place of an earlier one of the same version."""
    store.put(verdicts_key(report.version), canonical_json(report.model_dump(mode="json")))


def load_verdicts(store: Store, version: int) -> AuditReport | None:
    """Return the kept audit of a version, None where there is none.

    Raises CorruptData where what is kept is no report of this format.
    """
    key = verdicts_key(version)
    try:
        data = store.get(key)
    except NotFound:
        return None
    try:
        return AuditReport.model_validate_json(data)
    except ValidationError as error:
        raise CorruptData(f"{store.describe(key)}: not an audit report: {error.errors()[0]['msg']}.") from error
