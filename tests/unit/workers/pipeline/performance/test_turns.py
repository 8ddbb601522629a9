"""Who runs when, with one model in memory or two."""

import pytest

from app.recipes.performance import ROUNDS
from workers.pipeline.line_process import ProcessFaultError
from workers.pipeline.performance.turns import Side, take_turns


class Recorded:
    """Stands for processes: notes what they do, in order."""

    def __init__(self, last=ROUNDS, fault="timed_out"):
        self.log, self.open, self.most = [], 0, 0
        self.last, self.fault = last, fault

    def side(self, name):
        recorded = self

        class Process:
            def __enter__(self):
                recorded.open += 1
                recorded.most = max(recorded.most, recorded.open)
                return self

            def __exit__(self, *_):
                recorded.open -= 1

            def hear(self):
                recorded.log.append(f"load {name}")
                return {"peak": 100}

            def turn(self):
                if recorded.log.count(f"run {name}") == recorded.last:
                    raise ProcessFaultError(recorded.fault, "enough")
                recorded.log.append(f"run {name}")
                return {"peak": 100, "seconds": {"encode": 1.0}}

        return Side(Process)


def run(recorded, free):
    sides = [recorded.side("dense"), recorded.side("result")]
    shares = []
    together = take_turns(sides, lambda: free, shares.append)
    return together, [len(side.seconds) for side in sides], shares


def test_both_are_loaded_once_where_there_is_room_and_take_turns():
    recorded = Recorded()
    together, rounds, shares = run(recorded, free=225)
    assert together
    assert recorded.log[:2] == ["load dense", "load result"]
    assert recorded.log[2:6] == ["run dense", "run result", "run result", "run dense"]
    assert recorded.log.count("load dense") == 1
    assert rounds == [ROUNDS, ROUNDS]
    assert shares[-1] == 1
    assert (recorded.most, recorded.open) == (2, 0)


def test_one_at_a_time_where_there_is_no_room():
    recorded = Recorded()
    together, rounds, _ = run(recorded, free=224)
    assert not together
    assert recorded.log[1:5] == ["load dense", "run dense", "load result", "run result"]
    assert rounds == [ROUNDS, ROUNDS]
    assert (recorded.most, recorded.open) == (1, 0)


@pytest.mark.parametrize("free", [0, 1000])
def test_when_the_time_is_over_the_rounds_done_count(free):
    recorded = Recorded(last=2)
    _, rounds, shares = run(recorded, free)
    assert min(rounds) == 2
    assert len(shares) == 2
    assert recorded.open == 0


@pytest.mark.parametrize(("last", "fault"), [(0, "timed_out"), (2, "out_of_memory")])
def test_without_a_round_or_with_a_failure_there_is_nothing_to_report(last, fault):
    recorded = Recorded(last, fault)
    with pytest.raises(ProcessFaultError) as found:
        run(recorded, 1000)
    assert found.value.fault == fault
    assert recorded.open == 0
