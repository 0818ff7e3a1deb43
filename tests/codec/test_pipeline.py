"""Order of work, and the schedule of a sequence."""

import pytest

from nvc_jax.codec.pipeline import Pipeline
from nvc_jax.codec.schedule import QpOffsets, Schedule
from nvc_jax.errors import BitstreamError, ConfigError


def logged(items, events, damaged=None):
    """A pipeline that notes what it does; submitting the damaged item fails."""

    def submit(item):
        events.append(f"submit {item}")
        if item == damaged:
            raise BitstreamError("damaged")
        return item

    def finish(item):
        events.append(f"finish {item}")
        return item

    return Pipeline(submit, finish).run(items)


def test_a_result_is_given_although_the_item_after_it_failed():
    def finish(item):
        if item == 1:
            raise BitstreamError("damaged")
        return item

    pipeline = Pipeline(int, finish)
    with pytest.raises(BitstreamError, match="damaged"):
        pipeline.push([0, 1, 2])
    assert pipeline.push([3], flush=True) == [0, 2, 3]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_next_item_is_submitted_before_one_is_finished(count):
    events = []
    assert list(logged(range(count), events)) == list(range(count))
    for item in range(count - 1):
        assert events.index(f"submit {item + 1}") < events.index(f"finish {item}")
    for item in range(count - 2):
        assert events.index(f"finish {item}") < events.index(f"submit {item + 2}")


def test_items_before_an_error_are_finished():
    def source():
        yield from (0, 1, 2)
        raise BitstreamError("cut")

    results = []
    with pytest.raises(BitstreamError, match="cut"):
        results.extend(logged(source(), []))
    assert results == [0, 1, 2]


def test_items_before_a_failed_submission_are_finished():
    results = []
    with pytest.raises(BitstreamError, match="damaged"):
        results.extend(logged(range(5), [], damaged=2))
    assert results == [0, 1]


def plans(count, **settings):
    return [Schedule(**settings).packet(n, 1) for n in range(count)]


def qps(plans):
    return [qp for plan in plans for qp in plan.qps]


def test_hierarchical_qps():
    """Offsets count from the start of the file, whatever the intra frames do (spec 9)."""
    assert qps(plans(11, qp=30, intra_qp=20)) == [20, 38, 30, 34, 30, 34, 30, 34, 30, 38, 30]
    assert qps(plans(9, qp=30, intra_qp=20, intra_period=3)) == [20, 38, 30, 20, 30, 34, 20, 34, 30]


def test_refreshes():
    """Frame numbers that leave remainder 1 (spec 9): 1, 65, ... for an interval of 64."""
    assert [plan.index for plan in plans(200) if plan.refresh] == [1, 65, 129, 193]
    assert [plan.index for plan in plans(9, reset_interval=3, intra_period=4) if plan.refresh] == [1, 7]
    assert [plan.index for plan in plans(5, reset_interval=1) if plan.refresh] == [1, 2, 3, 4]
    assert not any(plan.refresh for plan in plans(70, reset_interval=0))


def packets(count, pictures, **settings):
    """The packets of a sequence: (first picture, qps, start, refresh)."""
    schedule, found, index = Schedule(**settings), [], 0
    while index < count:
        plan = schedule.packet(index, min(schedule.room(index, pictures), count - index))
        found.append((plan.index, plan.qps, plan.start, plan.refresh))
        index += len(plan.qps)
    return found


def test_packets_of_several_pictures():
    """Offsets and refreshes count pictures, and no run starts within a packet."""
    assert packets(5, 2, qp=30, intra_qp=20) == [
        (0, (20, 38), True, False),
        (2, (30, 34), False, False),
        (4, (30,), False, False),
    ]
    starts = [(index, len(qps)) for index, qps, start, _ in packets(9, 2, intra_period=3) if start]
    assert starts == [(0, 2), (3, 2), (6, 2)]
    assert [len(qps) for _, qps, _, _ in packets(9, 2, intra_period=3)] == [2, 1] * 3
    assert [index for index, _, _, refresh in packets(200, 8) if refresh] == [64, 128, 192]
    assert [index for index, _, _, refresh in packets(9, 2, reset_interval=3) if refresh] == [4, 6]
    assert [index for index, _, _, refresh in packets(9, 2, reset_interval=1) if refresh] == [2, 4, 6, 8]
    assert [qps for _, qps, _, _ in packets(7, 3, qp=1, qp_offsets=(0, 1, 2, 3, 4, 5, 6, 7), intra_qp=0)] == [
        (0, 2, 3),
        (4, 5, 6),
        (7,),
    ]


@pytest.mark.parametrize(
    "settings", [{"qp": 64}, {"qp": -1}, {"intra_qp": 63.5}, {"intra_period": 0}, {"reset_interval": -1}]
)
def test_bad_schedules(settings):
    with pytest.raises(ConfigError, match="must be"):
        Schedule(**settings)


def test_pictures_that_start_a_run_have_the_offset_of_the_model():
    def qp(schedule):
        return schedule.for_model(QpOffsets((0,) * 8, 8)).packet(0, 1).qps[0]

    assert (qp(Schedule(20)), qp(Schedule(60.5)), qp(Schedule(20, 22))) == (28, 63, 22)
    assert Schedule(20).packet(0, 1).qps == (20,)
