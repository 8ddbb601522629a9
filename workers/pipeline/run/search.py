"""The sparsest model within the quality gate: sparsity after sparsity is tried in one job."""

from collections.abc import Callable
from dataclasses import dataclass

from app.domain.jobs import EventType, NewEvent
from app.recipes.evaluation import EvaluationReport, QualityGate
from app.recipes.pruning_report import PruningReport
from app.recipes.search import SearchReport, SparsitySearch, Tried
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
        sparsity: where it is searched for.
        evaluation: where the model was measured at this sparsity before; None to measure it.
    """

    checkpoints: Checkpoints
    begin: float
    end: float
    sparsity: float = 0.0
    evaluation: EvaluationReport | None = None


class SparsitySearcher:
    """Finds the sparsest model within a gate, by trying."""

    def __init__(
        self,
        search: SparsitySearch,
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
        self._tried: dict[float, Tried] = {}
        self._measured: dict[float, EvaluationReport] = {}

    def run(self, report: Reporter) -> PruningReport:
        """Try until the answer is known, and leave the model pruned to the sparsity found.

        Where none is within the gate, that is the least one tried.
        """
        at, pruned = None, None  # what the model is pruned to
        while (sparsity := self._search.next(self._tried)) is not None:
            known = self._checkpoints.get(_name(sparsity))
            if known is None:
                at, pruned = sparsity, self._prune(self._try(sparsity))
                evaluation = _evaluated(pruned)
                values = {"evaluation": evaluation.model_dump(mode="json")}
                self._checkpoints.put(_name(sparsity), Entry(values))
            else:
                evaluation = EvaluationReport.model_validate(known.values["evaluation"])
            self._measured[sparsity] = evaluation
            found = Tried.of(sparsity, self._gate, evaluation.metrics[self._gate.metric])
            self._tried[sparsity] = found
            report.event(NewEvent(EventType.LOG, self._said(found), data=found.model_dump()))
            for other in self._tried.keys() - {sparsity, self._best()}:
                self._checkpoints.forget_part(str(other))
        best = self._best()
        if pruned is None or at != best:
            pruned = self._prune(self._try(best))
        result = SearchReport.of(self._gate, list(self._tried.values()))
        judged = result.judged(_evaluated(pruned))
        return pruned.model_copy(update={"search": result, "evaluation": judged})

    def _try(self, sparsity: float) -> Try:
        begin = self._begin + self._width * len(self._tried)
        part = self._checkpoints.part(str(sparsity))
        known = self._measured.get(sparsity)
        return Try(part, begin, begin + self._width, sparsity, known)

    def _best(self) -> float:
        good = [sparsity for sparsity, each in self._tried.items() if each.qualifies]
        return max(good) if good else min(self._tried)

    def _said(self, found: Tried) -> str:
        verdict = "within" if found.qualifies else "outside"
        return (
            f"sparsity {found.sparsity:g}: {self._gate.metric} {found.drop:.4g} worse, at worst "
            f"{found.at_worst:.4g}, {verdict} the gate of {self._gate.max_drop:g}"
        )


def _name(sparsity: float) -> str:
    return f"tried {sparsity}"


def _evaluated(pruned: PruningReport) -> EvaluationReport:
    if pruned.evaluation is None:
        raise TypeError("a search needs an evaluation")
    return pruned.evaluation
