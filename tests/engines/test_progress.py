"""Phases of a build become one share that never goes back."""

from __future__ import annotations

from fade_deploy.engines.progress import BuildProgress


def test_a_phase_inside_a_step_counts_as_a_part_of_it():
    progress = BuildProgress()
    progress.start("Building engine", None, 4)
    progress.step("Building engine", 0)
    assert progress.fraction == 0.25
    progress.start("Optimising", "Building engine", 2)
    progress.step("Optimising", 0)
    assert progress.fraction == 0.375
    progress.finish("Optimising")
    assert progress.fraction == 0.5
    progress.step("Building engine", 1)
    assert progress.fraction == 0.5


def test_an_end_before_the_last_step_is_an_end():
    progress = BuildProgress()
    progress.start("Building engine", None, 100)
    progress.step("Building engine", 3)
    progress.finish("Building engine")
    assert progress.fraction == 1.0


def test_another_outermost_phase_starts_anew():
    progress = BuildProgress()
    progress.start("Parsing", None, 1)
    progress.finish("Parsing")
    progress.start("Building engine", None, 2)
    assert (progress.phase, progress.fraction) == ("Building engine", 0.0)


def test_events_of_unknown_phases_do_no_harm():
    progress = BuildProgress()
    progress.step("never started", 5)
    progress.finish("never started")
    progress.start("inside", "a parent that is not there", 0)
    progress.step("inside", 0)
    assert progress.fraction == 1.0
