"""The pipeline of a PAR job: load -> answer -> mine and train in rounds -> judge -> write."""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from app.domain.jobs import EventLevel, EventType, NewEvent, Phase
from app.errors import CalibrationDataError
from app.planning.model_files.files import read_config
from app.planning.routable import RoutingError, RoutingFamilyError, check_routable
from app.recipes.routing import Routing
from app.recipes.routing_report import RoundReport, RoutingReport
from workers.pipeline.checkpoints import open_checkpoints
from workers.pipeline.context import Reporter, RunContext
from workers.pipeline.data.builtin import Purpose
from workers.pipeline.data.record import Record
from workers.pipeline.data.source import Dataset
from workers.pipeline.evaluation.stage import Evaluation
from workers.pipeline.evaluation.subject import Subject
from workers.pipeline.reports import route_report
from workers.pipeline.run.route_files import write_files
from workers.pipeline.stages import (
    RunResult,
    fetch_model,
    load_to_run,
    processor,
    provenance,
    read_records,
    record_errors_of,
    settled,
    timed,
)
from workers.pruning.engine.prune import evaluating
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.routing.answers import Answered, answer
from workers.pruning.routing.flops import Costs
from workers.pruning.routing.judging import averaged, contestants, judge
from workers.pruning.routing.learning import (
    Learned,
    Split,
    TrainingProgress,
    learn,
    new_router,
    split,
)
from workers.pruning.routing.policies import Rules, deciding, remaining_layers, routed
from workers.pruning.routing.profiles import budget_of, standard_profiles, typical_prompt
from workers.pruning.routing.questions import asked_twice
from workers.pruning.routing.runtime import (
    ParError,
    Profile,
    UnsupportedModelError,
    anatomy,
    layer_candidates,
    par,
)

# Shares of a job's time at which the phases end; the rounds are nearly all of it.
LOADED, ANSWERED, LEARNED, JUDGED, EXPORTED = 0.05, 0.15, 0.85, 0.95, 0.98
_MINING = 0.8  # of a round


@dataclass(frozen=True, slots=True, eq=False)
class _Prompts:
    """Prompts with their dense answers: to train on, to choose by, to judge by.

    Attributes:
        records: of the set, that they come from.
    """

    records: Split
    train: list[Answered]
    choose: list[Answered]
    judge: list[Answered]


def route(context: RunContext, routing: Routing) -> RunResult:
    """Carry out one PAR job.

    A router that does not beat its baselines ends the job as failed quality, with its report but
    without its files, unless the job allows no improvement.

    Raises:
        StoppedError: the reporter said so.
        UserError: model, data or budget are at fault.
        SystemFaultError: the surroundings are.
    """
    started = time.monotonic()
    source = fetch_model(context)
    context = settled(context, source)
    check_routable(read_config(source.directory), routing)
    adapter = adapt(load_to_run(context, source))
    context.report.progress(LOADED)
    data = read_records(context)
    origin = provenance(context, source, data)
    key = origin | {"kind of processor": processor(context)}
    with (
        record_errors_of(context, adapter, data),
        torch.no_grad(),
        evaluating(adapter.model),
        _in_words(),
    ):
        prompts = _answer(context, adapter, data[Purpose.CALIBRATION])
        rules, costs = _rules(adapter, routing, prompts)
        with _evaluation(context, adapter, data) as evaluation:
            if evaluation is not None:
                context.report.phase(Phase.EVALUATING)
                evaluation.before()
            with TemporaryDirectory(prefix="secateur-pairs-") as scratch:
                learned = learn(
                    adapter,
                    routing,
                    rules,
                    training=prompts.train,
                    choosing=prompts.choose,
                    scratch=Path(scratch),
                    checkpoints=open_checkpoints(context, key),
                    listener=_RoundReporter(context.report, routing.rounds),
                )
            context.report.phase(Phase.EVALUATING)
            contest = contestants(learned.router, rules)
            found = judge(adapter, prompts.judge, contest, context.report.check)
            with _pruned(adapter, learned, rules):
                evaluated = evaluation.after() if evaluation is not None else None
        report = route_report.build(
            routing,
            costs,
            learned,
            profiles={"asked": rules.profile, **_standard(adapter, routing)},
            records={name: len(part) for name, part in prompts.records._asdict().items()},
            closeness=averaged(found),
            evaluation=evaluated,
        )
        _tell(context.report, report)
        context.report.progress(JUDGED)
        context.report.phase(Phase.EXPORTING)
        left = None
        if routing.static_export:
            left = remaining_layers(adapter, learned.router, rules, prompts.train)
        files = write_files(
            context, source, adapter, router=learned.router, report=report, left=left, origin=origin
        )
    result = timed(route_report.result(report), started)
    return RunResult(result, files, route_report.refusal(report))


def _answer(context: RunContext, adapter: Adapter, dataset: Dataset) -> _Prompts:
    """Let the dense model answer; a record that comes twice counts once.

    Pictures that are trained on are asked a second question.
    """
    context.report.phase(Phase.CALIBRATING)
    spec, routing = context.spec.calibration, context.spec.recipe
    if spec is None or not isinstance(routing, Routing):
        raise TypeError("a PAR job has a routing and a calibration set")
    unlike = dict(zip(dataset.digests, dataset.records, strict=True)).values()
    asked = [_asked(record) for record in unlike]
    pictures = [_digest(each.image) for each in asked]
    records = split(pictures, routing.held_out, routing.seed)
    train, choose, judge = ([asked[place] for place in part] for part in records)
    train = asked_twice(train, [pictures[place] for place in records.train])
    total = len(train) + len(choose) + len(judge)
    found: list[list[Answered]] = []
    done = 0
    for part in (train, choose, judge):
        found.append([])
        for batch in answer(
            adapter,
            part,
            batch_size=spec.batch_size,
            max_length=spec.max_length,
            answer_tokens=routing.answer_tokens,
        ):
            found[-1].append(batch)
            done += len(batch.places)
            context.report.progress(LOADED + (ANSWERED - LOADED) * done / total)
    return _Prompts(records, *found)


def _asked(record: Record) -> CalibrationRecord:
    asked = record.question
    if asked.image is None or not asked.text:
        lacking = "image" if asked.image is None else "prompt"
        raise CalibrationDataError(
            f"record {record.number}: a router learns from images with prompts, and it has no "
            f"{lacking}"
        )
    return asked


def _digest(image: Image.Image | None) -> str:
    return sha256(image.convert("RGB").tobytes() if image else b"").hexdigest()


def _rules(adapter: Adapter, routing: Routing, prompts: _Prompts) -> tuple[Rules, Costs]:
    subject = anatomy(adapter.model)
    typical = typical_prompt(subject, prompts.train)
    costs = Costs(subject, new_router(adapter, routing), typical)
    profile = budget_of(routing, subject, costs)
    able = layer_candidates(len(subject.layers), routing.drop_layer)
    return Rules(profile, able, routing.coverage_floor), costs


def _standard(adapter: Adapter, routing: Routing) -> dict[str, Profile]:
    return standard_profiles(anatomy(adapter.model), routing.drop_layer)


def _evaluation(
    context: RunContext, adapter: Adapter, data: Mapping[Purpose, Dataset]
) -> AbstractContextManager[Evaluation | None]:
    spec = context.spec.evaluation
    if spec is None:
        return nullcontext()
    dataset = data[Purpose.EVALUATION]
    subject = Subject(adapter, dataset.records, spec, context.report.check)
    return Evaluation(subject, dataset, context.spec.quality_gate)


def _pruned(adapter: Adapter, learned: Learned, rules: Rules) -> AbstractContextManager[None]:
    decide_fn = deciding(routed(learned.router), rules, length=None)
    return par(adapter.model, decide_fn, drop_layer=rules.profile.drop_layer)


def _tell(report: Reporter, found: RoutingReport) -> None:
    for warning in route_report.warnings(found):
        report.event(NewEvent(EventType.WARNING, warning, EventLevel.WARNING))
    for name, policy in found.policies.items():
        message = (
            f"{name}: held-out KL {policy.kl.value:.4g}, same answers {policy.exact.value:.1%}"
        )
        data = {"metric": "kl", "policy": name, **policy.model_dump()}
        report.event(NewEvent(EventType.METRIC, message, data=data))
    for name, measured in found.evaluation.metrics.items() if found.evaluation else ():
        message = f"{name} {measured.before.value:.4g} -> {measured.after.value:.4g}"
        data = {"metric": name, **measured.model_dump()}
        report.event(NewEvent(EventType.METRIC, message, data=data))


@contextmanager
def _in_words() -> Iterator[None]:
    """The runtime knows no errors of ours; it is a file that leaves this project."""
    try:
        yield
    except UnsupportedModelError as error:
        raise RoutingFamilyError(str(error)) from error
    except ParError as error:
        raise RoutingError(str(error)) from error


class _RoundReporter:
    """Turns the progress of the rounds into the job's."""

    def __init__(self, report: Reporter, rounds: int) -> None:
        self._report = report
        self._rounds = rounds
        self._phase: tuple[int, str] | None = None

    def __call__(self, step: TrainingProgress) -> None:
        if step.report is not None:
            self._finished(step.round, step.report)
        elif self._phase != (step.round, step.stage):
            self._phase = step.round, step.stage
            self._report.phase(Phase(step.stage))
        share = step.done / step.total
        mined = step.stage == "training"
        within = _MINING + (1 - _MINING) * share if mined else _MINING * share
        done = (step.round + within) / self._rounds
        self._report.progress(ANSWERED + (LEARNED - ANSWERED) * done)

    def _finished(self, number: int, report: RoundReport) -> None:
        message = (
            f"round {number + 1} of {self._rounds}: {report.pairs} pairs, "
            f"held-out KL {report.held_out_kl:.4g}"
        )
        data = {"metric": "held_out_kl", "round": number, **report.model_dump()}
        self._report.event(NewEvent(EventType.METRIC, message, data=data))
