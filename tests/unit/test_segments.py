"""The journal's bytes: what is written comes back, and damage costs no more than what is damaged."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.segments import ClosingRecord, IntentRecord, ProgressRecord, Segment, decode, encode, read
from tests.fixtures.ledger import closing, intent

RECORDS = [IntentRecord(intent("r1")), ProgressRecord("r1", 1, 256), ClosingRecord(closing("r1"))]
ENCODED = [encode(record) for record in RECORDS]
WHOLE = b"".join(ENCODED)
ENDS = [sum(map(len, ENCODED[:count])) for count in range(len(ENCODED) + 1)]


def test_records_come_back_as_they_were_written():
    assert decode(WHOLE) == (RECORDS, len(WHOLE), None)


def test_records_older_than_the_classes_of_cache_writes_can_still_be_read():
    classes = ("cache_write", "cache_write_1h", "cache_write_tokens", "cache_write_1h_tokens")

    def without(value: Any) -> Any:
        if isinstance(value, list):
            return [without(item) for item in value]
        if isinstance(value, dict):
            return {name: without(item) for name, item in value.items() if name not in classes}
        return value

    old = [encode(without(msgspec.to_builtins(record))) for record in RECORDS]

    assert decode(b"".join(old))[0] == RECORDS


@pytest.mark.fault("M13")
def test_a_file_cut_at_any_byte_gives_the_records_before_the_cut():
    for length in range(len(WHOLE)):
        records, offset, problem = decode(WHOLE[:length])

        whole = max(count for count, end in enumerate(ENDS) if end <= length)
        assert records == RECORDS[:whole]
        assert offset == ENDS[whole]
        assert problem == (None if length in ENDS else "torn")


@pytest.mark.fault("M13")
@given(bit=st.integers(0, len(WHOLE) * 8 - 1))
def test_a_flipped_bit_costs_its_record_and_what_follows(bit):
    damaged = bytearray(WHOLE)
    damaged[bit // 8] ^= 1 << bit % 8

    records, offset, problem = decode(bytes(damaged))

    before = max(count for count, end in enumerate(ENDS) if end <= bit // 8)
    assert records == RECORDS[:before]
    assert offset == ENDS[before]
    assert problem in ("torn", "corrupt")


@pytest.mark.fault("M13")
@given(junk=st.binary(min_size=1, max_size=200))
def test_no_bytes_crash_the_reader(junk):
    records, _, _ = decode(WHOLE + junk)

    assert records[: len(RECORDS)] == RECORDS


@pytest.mark.fault("M13")
def test_a_tail_of_zeros_is_no_record():
    assert decode(WHOLE + bytes(4096)) == (RECORDS, len(WHOLE), "corrupt")


@pytest.mark.fault("M13")
def test_a_sound_record_of_an_unknown_kind_is_kept_for_whoever_understands_it():
    class Later(msgspec.Struct, tag_field="kind", tag="later"):
        pass

    records, offset, problem = decode(WHOLE + encode(Later()))

    assert (records, offset, problem) == (RECORDS, len(WHOLE), "corrupt")


@pytest.mark.fault("M13")
def test_what_cannot_be_read_is_kept_aside(tmp_path: Path):
    path = tmp_path / "x-00000001.wal"
    path.write_bytes(WHOLE[:-1])

    records, damage = read(path)

    assert records == RECORDS[:2]
    assert damage.kind == "torn"
    assert damage.path.read_bytes() == WHOLE[ENDS[2] : -1]


def test_sealing_cuts_off_what_was_not_made_durable(tmp_path: Path):
    segment = Segment(tmp_path / "x-00000001.wal")
    segment.write(ENCODED[0])
    with segment.path.open("ab") as file:
        file.write(ENCODED[1])

    segment.seal()

    assert segment.path.read_bytes() == ENCODED[0]


def test_a_segment_that_never_held_a_record_leaves_no_file(tmp_path: Path):
    segment = Segment(tmp_path / "x-00000001.wal")

    segment.seal()

    assert list(tmp_path.iterdir()) == []
