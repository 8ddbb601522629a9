"""The smallest model within the quality gate: share after share is tried in one job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.domain.jobs import EventType, NewEvent
from app.recipes.evaluation import EvaluationReport, QualityGate
from app.recipes.pruning_report import PruningReport
from app.recipes.search import Axis, Chosen, Search, SearchReport, Tried, in_words
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pipeline.context import Reporter
from workers.pruning.resume import Checkpoints, Entry


@dataclass(frozen=True, slots=True)
class Try:
    """The dense model pruned once.

    Attributes:
        checkpoints: what an earlier attempt has finished of it.
        begin: share of the job's time at which it begins, 0 to 1.
        end: the same of its end.
        chosen: the shares that are tried, where they are searched for.
        evaluation: where the model was measured with these before; None to measure it.
    """

    checkpoints: Checkpoints
    begin: float
    end: float
    chosen: Mapping[Axis, float] = field(default_factory=dict)
    evaluation: EvaluationReport | None = None


class Searcher:
    """Finds the smallest model within a gate, by trying."""

    def __init__(
        self,
        search: Search,
        gate: QualityGate,
        checkpoints: DiskCheckpoints,
        prune: Callable[[Try], PruningReport],
        share: tuple[float, float],
    ) -> None:
        """Try nothing yet.

        Args:
            search: what may be tried.
            gate: what decides.
            checkpoints: keep what every try came to, and the blocks of the best one and the last.
            prune: prunes the dense model and measures it.
            share: of the job's time, from and to.
        """
        self._search = search
        self._gate = gate
        self._checkpoints = checkpoints
        self._prune = prune
        self._begin = share[0]
        self._width = (share[1] - share[0]) / (search.evaluations + 1)
        self._tried: list[Tried] = []
        self._measured: dict[str, EvaluationReport] = {}
        self._at: str | None = None  # what the model is pruned to
        self._pruned: PruningReport | None = None

    def run(self, report: Reporter) -> PruningReport:
        """Try until the answer is known, and leave the model pruned to what was found.

        Where nothing is within the gate, that is the least that was tried.
        """
        chosen: Chosen = {}
        for number in range(len(self._search.ladders)):
            chosen = self._climb(number, chosen, report)
        result = SearchReport.of(self._gate, self._tried, chosen)
        best = chosen if result.chosen else _least(self._tried)
        pruned = self._pruned if self._at == _name(best) else None
        pruned = pruned or self._prune(self._try(best))
        judged = result.judged(_evaluated(pruned))
        return pruned.model_copy(update={"search": result, "evaluation": judged})

    def _climb(self, number: int, chosen: Chosen, report: Reporter) -> Chosen:
        """The shares with the largest of this ladder that is good; 0 where none is."""
        ladder, gate = self._search.ladders[number], self._search.allowed(self._gate, number)
        tried: dict[float, Tried] = {}
        best = chosen | {ladder.axis: 0.0}
        while (share := ladder.next(tried)) is not None:
            now = chosen | {ladder.axis: share}
            evaluation, parameters = self._evaluated(now)
            measured = evaluation.metrics[gate.metric]
            found = Tried.of(ladder.axis, share, gate, measured, parameters)
            tried[share] = found
            self._tried.append(found)
            if found.qualifies:
                best = max(best, now, key=lambda each: each[ladder.axis])
            said = _said(found, gate)
            report.event(NewEvent(EventType.LOG, said, data=found.model_dump(mode="json")))
            least = _least(list(tried.values())) if number == 0 else {}
            kept = {_name(now), _name(best if any(best.values()) else least)}
            for other in self._measured.keys() - kept:
                self._checkpoints.forget_part(other)
        return best

    def _evaluated(self, now: Chosen) -> tuple[EvaluationReport, int | None]:
        """What the model comes to there, and its parameters where structure goes."""
        name = _name(now)
        known = self._checkpoints.get(f"tried {name}")
        if known is None:
            self._at, self._pruned = name, self._prune(self._try(now))
            evaluation, structure = _evaluated(self._pruned), self._pruned.structure
            parameters = structure.parameters_kept if structure else None
            values = {"evaluation": evaluation.model_dump(mode="json"), "parameters": parameters}
            self._checkpoints.put(f"tried {name}", Entry(values))
        else:
            evaluation = EvaluationReport.model_validate(known.values["evaluation"])
            parameters = known.values["parameters"]
        self._measured[name] = evaluation
        return evaluation, parameters

    def _try(self, chosen: Mapping[Axis, float]) -> Try:
        begin = self._begin + self._width * len(self._tried)
        part = self._checkpoints.part(_name(chosen))
        known = self._measured.get(_name(chosen))
        return Try(part, begin, begin + self._width, chosen, known)


def _name(chosen: Mapping[Axis, float]) -> str:
    return in_words({axis: share for axis, share in chosen.items() if share})


def _least(tried: list[Tried]) -> Chosen:
    """Of the first ladder, where what is searched later is dense."""
    first = [each for each in tried if each.axis == tried[0].axis]
    return {tried[0].axis: min(each.share for each in first)}


def _said(found: Tried, gate: QualityGate) -> str:
    verdict = "within" if found.qualifies else "outside"
    left = "" if found.parameters is None else f" ({found.parameters:,} parameters)"
    return (
        f"{found.axis} {found.share:g}{left}: {gate.metric} {found.drop:.4g} worse, at worst "
        f"{found.at_worst:.4g}, {verdict} the {gate.max_drop:g} that is allowed"
    )


def _evaluated(pruned: PruningReport) -> EvaluationReport:
    if pruned.evaluation is None:
        raise TypeError("a search needs an evaluation")
    return pruned.evaluation
