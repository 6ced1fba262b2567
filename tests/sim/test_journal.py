"""The comparison cannot be fooled: what is planted is reported as what it is."""

from hypothesis import given
from hypothesis import strategies as st

from host_sim.journal import Journal, Row, Verdict, compare
from host_sim.session import in_words

START_MS = 1_800_000_000_000


def history(values, period_ms=2000):
    """A journal of `values`, and the rows that a faultless gateway would have."""
    journal = Journal()
    rows = []
    for i, value in enumerate(values):
        journal.begin(START_MS + i * period_ms, "send", repr((("t", value), {})))
        journal.end(True)
        rows.append(Row("metric", "t", value, {}, START_MS + i * period_ms + 37))
    return journal, rows


VALUES = [20 + i / 7 for i in range(50)]


def test_a_faultless_run_is_clean():
    journal, rows = history(VALUES)
    verdict = compare(journal, rows)
    assert verdict.clean and verdict.accepted == verdict.stored == 50 and verdict.time_error_ms == 37


def test_a_row_deleted_is_one_lost():
    journal, rows = history(VALUES)
    gone = rows.pop(17)
    verdict = compare(journal, rows)
    assert (verdict.lost, verdict.duplicates) == (1, 0)
    assert verdict.missing[0].value == gone.value


def test_a_row_doubled_under_another_timestamp_is_one_duplicate():
    for shift_ms in (1, 700, -700, 3_600_000):
        journal, rows = history(VALUES)
        rows.append(Row("metric", "t", rows[9].value, {}, rows[9].timestamp_ms + shift_ms))
        verdict = compare(journal, rows)
        assert (verdict.lost, verdict.duplicates) == (0, 1), shift_ms


def test_a_loss_and_a_spurious_row_at_once_do_not_cancel():
    journal, rows = history(VALUES)
    rows[5] = Row("metric", "t", rows[5].value, {}, rows[5].timestamp_ms + 60_000)
    verdict = compare(journal, rows)
    assert (verdict.lost, verdict.duplicates) == (1, 1)


def test_a_loss_and_a_doubled_row_of_a_constant_value_do_not_cancel():
    journal, rows = history([1.0] * 50)
    del rows[10]
    rows.append(Row("metric", "t", 1.0, {}, rows[30].timestamp_ms + 900))
    verdict = compare(journal, rows)
    assert (verdict.lost, verdict.duplicates) == (1, 1)


def test_a_wrong_value_is_a_loss_and_a_spurious_row():
    journal, rows = history(VALUES)
    rows[3] = Row("metric", "t", rows[3].value + 1e-9, {}, rows[3].timestamp_ms)
    verdict = compare(journal, rows)
    assert (verdict.lost, verdict.duplicates) == (1, 1)


def test_a_wrong_tag_or_class_is_noticed():
    for change in ({"tags": {"a": "b"}}, {"cls": "event"}, {"metric": "u"}):
        journal, rows = history(VALUES)
        fields = {"cls": "metric", "metric": "t", "value": rows[0].value, "tags": {}, **change}
        rows[0] = Row(timestamp_ms=rows[0].timestamp_ms, **fields)
        verdict = compare(journal, rows)
        assert (verdict.lost, verdict.duplicates) == (1, 1)


def test_counters_that_lie_are_reported():
    journal, rows = history(VALUES)
    del rows[:4]
    assert compare(journal, rows, dropped=4).clean
    too_few = compare(journal, rows, dropped=3)
    assert (too_few.lost, too_few.miscounted) == (1, 0)
    too_many = compare(journal, rows, dropped=9)
    assert (too_many.lost, too_many.miscounted) == (0, 5) and not too_many.clean


def test_what_is_in_a_frame_under_way_and_nowhere_else_waits_if_it_is_not_stored():
    journal, rows = history(VALUES)
    assert compare(journal, rows, undecided=3).clean
    del rows[:5]
    verdict = compare(journal, rows, dropped=3, undecided=3)
    assert (verdict.lost, verdict.pending, verdict.miscounted) == (0, 2, 0)
    verdict = compare(journal, rows, dropped=3, undecided=1)
    assert (verdict.lost, verdict.pending) == (1, 1)


def test_what_the_board_still_holds_is_pending_and_old_records_do_not_hide_a_loss():
    journal, rows = history([1.0] * 50)
    held = [Row("metric", "t", 1.0, {}, row.timestamp_ms - 37) for row in rows[20:]]
    gone = rows[:15] + rows[16:45]  # one lost, five waiting
    verdict = compare(journal, gone, held)
    assert (verdict.lost, verdict.pending, verdict.duplicates) == (1, 5, 0)


def test_what_is_held_may_be_as_far_off_in_time_as_what_is_stored():
    journal, rows = history(VALUES)  # the crystal of a long boot
    held = [Row("metric", "t", row.value, {}, row.timestamp_ms + 1900) for row in rows[45:]]
    assert compare(journal, rows[:45], held).lost > 0
    verdict = compare(journal, rows[:45], held, tolerance_ms=2500)
    assert (verdict.lost, verdict.pending) == (0, 5)


def test_a_float_that_was_printed_in_too_few_digits_is_known_in_the_ring():
    journal, rows = history([float(f"{value:.7g}") for value in VALUES])
    held = [Row("metric", "t", value, {}, START_MS + i * 2000) for i, value in enumerate(VALUES)]
    verdict = compare(journal, rows[:40], held[40:])
    assert (verdict.lost, verdict.pending) == (0, 10)
    # One that is not in the ring is lost, however near the others are.
    verdict = compare(journal, rows[:40], held[41:])
    assert (verdict.lost, verdict.pending) == (1, 9)


def test_a_number_near_another_reading_is_not_taken_for_it():
    journal, rows = history([100.0, 100.000001, 100.000002])
    verdict = compare(journal, rows[:1], [Row("metric", "t", 100.000002, {}, START_MS + 4000)] * 2)
    assert (verdict.lost, verdict.pending) == (1, 1)


def test_what_was_being_sent_at_a_cut_may_be_either():
    for stored in (False, True):
        journal, rows = history(VALUES)
        journal.begin(START_MS + 1_000_000, "send_batch", repr((([("t", 1.0), ("u", 2.0)],), {})))
        journal.cut(START_MS + 1_000_000)
        if stored:
            rows.append(Row("metric", "t", 1.0, {}, START_MS + 1_000_000))
        verdict = compare(journal, rows)
        assert verdict.clean and verdict.accepted == 50


def paged(values, committed, period_ms=2000):
    """A journal of `values`, of which the first `committed` had left the page when the power went; their rows."""
    journal = Journal()
    for i, value in enumerate(values):
        journal.begin(START_MS + i * period_ms, "send", (("t", value), {}), True)
        journal.end(True)
    journal.commit(committed)
    journal.cut(START_MS + len(values) * period_ms)
    return journal, [Row("metric", "t", v, {}, START_MS + i * period_ms + 37) for i, v in enumerate(values)]


def test_what_was_in_the_page_at_a_cut_may_be_either_and_is_counted():
    for stored in range(40, 51):
        journal, rows = paged(VALUES, 40)
        verdict = compare(journal, rows[:stored])
        assert verdict.clean and verdict.accepted == 50
        assert (verdict.at_cut, verdict.pending) == (50 - stored, 0)
        assert verdict.at_cut_ms == (50 - stored) * 2000


def test_what_was_committed_before_a_cut_is_lost_when_it_is_missing():
    journal, rows = paged(VALUES, 40)
    verdict = compare(journal, rows[:39])
    assert (verdict.lost, verdict.at_cut) == (1, 10) and not verdict.clean


def test_what_was_in_the_page_is_stored_once_at_most():
    journal, rows = paged(VALUES, 40)
    rows.append(Row("metric", "t", rows[45].value, {}, rows[45].timestamp_ms + 60_000))
    assert compare(journal, rows).duplicates == 1


def test_a_page_that_a_running_board_holds_is_pending():
    journal, rows = paged(VALUES, 40)
    held = [Row("metric", "t", row.value, {}, row.timestamp_ms - 37) for row in rows[44:]]
    verdict = compare(journal, rows[:40], held)
    assert (verdict.lost, verdict.at_cut, verdict.pending) == (0, 4, 6)


def test_a_commit_covers_the_oldest_of_the_page_also_of_a_call_under_way():
    """A batch larger than what the page had left: its first points are committed with those before."""
    journal = Journal()
    journal.begin(START_MS, "send", (("t", 1.0), {}), True)
    journal.end(True)
    journal.begin(START_MS + 2000, "send_batch", (([("t", 2.0), ("t", 3.0)],), {}), True)
    journal.commit(2)
    journal.end(True)
    journal.cut(START_MS + 3000)
    assert [reading.value for reading in journal.sure()] == [1.0, 2.0]
    assert [reading.value for reading in journal.at_cut()] == [3.0]


def test_a_refused_call_leaves_the_page_to_the_others():
    journal = Journal()
    for value, accepted in ((1.0, True), (2.0, False), (3.0, True)):
        journal.begin(START_MS, "send", (("t", value), {}), True)
        journal.end(accepted)
    journal.commit(2)
    journal.cut(START_MS + 1)
    assert [reading.value for reading in journal.sure()] == [1.0, 3.0] and journal.at_cut() == []


def test_readings_that_wait_for_no_commit_are_never_excused():
    journal, rows = history(VALUES)
    journal.cut(START_MS + 200_000)
    assert compare(journal, rows[:-1]).lost == 1


def test_a_page_written_while_the_power_went_may_be_dropped_later():
    """The device has it and counts it as given up: no reading is miscounted."""
    journal, rows = paged(VALUES, 40)
    verdict = compare(journal, rows[5:40], dropped=15)
    assert (verdict.lost, verdict.miscounted, verdict.at_cut) == (0, 0, 0) and verdict.clean
    verdict = compare(journal, rows[5:40], dropped=16)
    assert verdict.miscounted == 1


def test_guessed_times_of_a_page_at_a_cut_are_matched_by_their_order():
    journal, _ = paged(VALUES, 40)
    guessed = [
        Row("metric", "t", value, {"clock": "estimated"}, START_MS - 10_000_000 + i)
        for i, value in enumerate(VALUES[:45])
    ]
    verdict = compare(journal, guessed)
    assert verdict.clean and verdict.at_cut == 5


def test_refused_calls_are_no_readings():
    journal = Journal()
    journal.begin(START_MS, "send", "(('t', nan), {})")
    journal.end(False)
    journal.begin(START_MS, "send", "(('t', 1.0), {})")
    journal.end(False)
    assert compare(journal, []).accepted == 0


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=1, max_size=40),
    st.data(),
)
def test_any_deleted_and_any_spurious_rows_are_counted(values, data):
    """Periods longer than twice the tolerance: no row can be taken for its neighbour."""
    journal, rows = history(values, period_ms=4000)
    deleted = data.draw(st.sets(st.integers(0, len(values) - 1)))
    extra = data.draw(st.lists(st.integers(100_000, 200_000), max_size=5))
    kept = [row for i, row in enumerate(rows) if i not in deleted]
    kept += [Row("metric", "t", 2.5, {}, START_MS - shift) for shift in extra]
    verdict = compare(journal, kept)
    assert (verdict.lost, verdict.duplicates) == (len(deleted), len(extra))


def test_what_went_with_the_power_is_told():
    assert "in RAM" not in in_words(Verdict(accepted=5, stored=5))
    told = in_words(Verdict(accepted=5, stored=2, at_cut=3, at_cut_ms=58_400))
    assert told.endswith(", 3 in RAM when the power went (58 s at most)")
