"""The load of `make bench-soak`, for a moment."""

from benchmarks.soak.__main__ import figures, soak

COUNTED = {"lost", "doubled", "differing", "unexpected_5xx", "errors", "processes_died"}
MINUTES, WATCHERS = 0.25, 12


def test_the_service_carries_a_little_load_without_an_error(world):
    notes, samples, found = soak(world, MINUTES, WATCHERS)
    assert (notes.errors, str(found), samples.died) == ([], "", 0)
    assert {"submit", "read"} <= set(notes.seconds)
    told = figures(notes, samples, found)
    assert {name: told[name].ok for name in COUNTED} == dict.fromkeys(COUNTED, True)
