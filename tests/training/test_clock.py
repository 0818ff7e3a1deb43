"""Runs with a time budget: stages share it, and their schedules end with it."""

import itertools

import pytest

from nvc_jax.errors import ConfigError
from nvc_jax.training import clock
from nvc_jax.training.clock import Clock


class Machine:
    """A simulated machine with a fixed time per step, which runs a call while the next one is queued."""

    def __init__(self, monkeypatch, seconds_per_step):
        self.now, self.pace = 0.0, seconds_per_step
        monkeypatch.setattr(clock.time, "monotonic", lambda: self.now)

    def stage(self, timer, number, step, until=1e9):
        """Run a stage; give the schedule position of its steps."""
        timer.enter(number, step)
        under_way, shares = 0, []
        while self.now < until:
            ration = timer.ration(number, under_way, 10)
            if ration.steps == 0:
                break
            shares += [ration.over + i * ration.pace for i in range(ration.steps)]
            self.now += under_way * self.pace  # the call before is done
            if under_way:
                timer.took(under_way, under_way * self.pace)
            under_way = ration.steps
        self.now += under_way * self.pace
        return shares


@pytest.mark.parametrize("pace", [0.004, 0.05])
def test_schedules_end_with_the_time(monkeypatch, tmp_path, pace):
    machine = Machine(monkeypatch, pace)
    timer = Clock(tmp_path, 60.0, [0.25, 0.75], 0, 0.0)
    machine.now = 20.0  # to compile
    first = machine.stage(timer, 0, 0)
    assert machine.now == pytest.approx(30.0, abs=12 * pace)
    second = machine.stage(timer, 1, len(first))
    assert machine.now == pytest.approx(60.0, abs=12 * pace)
    assert timer.starts == [0, len(first)]
    for shares, length in ((first, 10.0), (second, 30.0)):
        assert len(shares) == pytest.approx(length / pace, rel=0.02, abs=12)
        assert shares[0] == 0.0
        assert shares[-1] == pytest.approx(1.0, abs=0.02)
        assert all(a <= b + 0.1 for a, b in itertools.pairwise(shares))


def test_a_run_goes_on_with_the_time_that_is_left(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, 0.01)
    timer = Clock(tmp_path, 40.0, [0.5, 0.5], 0, 0.0)
    steps = len(machine.stage(timer, 0, 0))
    steps += len(machine.stage(timer, 1, steps, until=30.0))
    timer.save(steps)
    machine.now = 500.0  # another call
    timer = Clock(tmp_path, 40.0, [0.5, 0.5], steps, 500.0)
    shares = machine.stage(timer, len(timer.starts) - 1, steps)
    assert shares[0] == pytest.approx(0.5, abs=0.02)
    assert machine.now == pytest.approx(510.0, abs=0.2)
    with pytest.raises(ConfigError, match="started without `seconds`"):
        Clock(tmp_path, 40.0, [0.5, 0.5], steps + 1, 500.0)


def test_damaged_time_is_one_sentence(tmp_path):
    (tmp_path / clock.CLOCK).write_text("[1,")
    with pytest.raises(ConfigError, match="is damaged"):
        clock.read_clock(tmp_path)
    for damaged in ('{"5": 3}', '{"5": {}}'):
        (tmp_path / clock.CLOCK).write_text(damaged)
        with pytest.raises(ConfigError, match="is damaged"):
            Clock(tmp_path, 10.0, [1.0], 5, 0.0)
