"""Blocks of header fields: read once, known again wherever the same bytes mean the same."""

import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from server.http2 import head_blocks
from server.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault
from server.http2.head_blocks import EMPTY, Fields, KnownBlocks, Table, decoded, literal
from server.http2.pieces import pieces

NO_TABLE = b"\x20"


def blocks(most_bytes: int = 1000) -> KnownBlocks[Fields]:
    return KnownBlocks(lambda fields: fields, most_bytes)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300), st.binary(max_size=40_000))
def test_a_field_of_ours_is_read_as_it_was_written(name, value):
    ((read_name, read_value),) = Decoder(max_header_list_size=100_000).decode(literal(name, value), raw=True)
    assert (bytes(read_name), bytes(read_value)) == (name, value)


def test_the_same_bytes_in_the_same_table_are_read_once_for_all():
    known, field = blocks(), [(b"a", b"b")]
    said = []
    for _ in range(2):  # connections
        encoder, table = Encoder(), known.fresh
        first, table = known.read(table, encoder.encode(field))  # it enters the table
        assert table.entries == (4096, ((b"a", b"b"),))
        second, table = known.read(table, encoder.encode(field))
        assert table.entries == (4096, ((b"a", b"b"),))
        said.append((first, second))
    assert said[0][0] == said[0][1] == field
    assert all(one is other for one, other in zip(*said, strict=True))
    assert len(table.stays) == len(known.fresh.goes) == 1


def test_the_same_bytes_in_another_table_mean_what_they_mean_there():
    known = blocks()
    for field in [(b"a", b"b")], [(b"c", b"d")]:
        encoder = Encoder()
        _, table = known.read(known.fresh, encoder.encode(field))
        again = encoder.encode(field)
        assert again == b"\xbe"
        assert known.read(table, again)[0] == field


def test_a_client_that_empties_its_table_comes_to_one_that_all_such_clients_share():
    known = blocks()
    tables = set()
    for field in [(b"a", b"b")], [(b"c", b"d")]:
        _, table = known.read(known.fresh, Encoder().encode(field))
        _, table = known.read(table, NO_TABLE + literal(b"e", b"f"))
        tables.add(table)
    (empty,) = tables
    assert empty.entries == (0, ())


FIELDS = st.lists(
    st.tuples(st.sampled_from([b"a", b":path", b"content-type", b"x" * 130]), st.binary(max_size=300)),
    max_size=6,
)


@settings(deadline=None)
@given(st.lists(FIELDS, max_size=4), st.booleans(), st.binary(max_size=3))
def test_in_an_empty_table_a_field_means_the_same_in_any_block(sent, huffman, spoilt):
    known, encoder = blocks(100_000), Encoder()
    encoder.header_table_size = 0
    _, table = known.read(known.fresh, NO_TABLE)
    encoder.encode([(b"a", b"b")])
    for fields in sent:
        block = encoder.encode(fields, huffman=huffman)
        assert len(pieces(block) or ()) == len(fields)
        assert b"".join(pieces(block) or ()) == block
        assert known.read(table, block) == (fields, table)
        try:
            expected = decoded(block + spoilt, EMPTY, 100_000)[0]
        except ConnectionFault:
            with pytest.raises(ConnectionFault):
                known.read(table, block + spoilt)
        else:
            assert known.read(table, block + spoilt)[0] == expected


def test_what_is_kept_is_bounded_in_number_and_in_length(monkeypatch):
    monkeypatch.setattr(head_blocks, "MOST_KNOWN", 3)
    known = blocks(10_000)
    _, empty = known.read(known.fresh, NO_TABLE)
    for number in range(4):
        known.read(empty, literal(b"number", b"%d" % number))
    known.read(empty, literal(b"long", bytes(head_blocks.LONGEST_KNOWN + 1)))
    assert empty.stays.keys() == {literal(b"number", b"2"), literal(b"number", b"3")}
    assert not known.fresh.goes


def test_tables_that_are_kept_are_bounded_and_one_that_was_forgotten_reads_on(monkeypatch):
    monkeypatch.setattr(head_blocks, "MOST_TABLES", 4)
    known, table, encoder = blocks(), Table[Fields]((4096, ())), Encoder()
    for number in range(20):
        fields = [(b"number", b"%d" % number), (b"one", b"1")]
        for _ in range(2):
            said, table = known.read(table, encoder.encode(fields))
            assert said == fields
    block = encoder.encode(fields)
    assert known.read(table, block)[0] is known.read(table, block)[0]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([(b"a", b"1"), (b"a", b"2"), (b"b", b"1" * 99)]), max_size=3)),
    st.data(),
)
def test_what_is_known_is_what_reading_would_say(sent, data):
    known = blocks(100_000)
    for _ in range(2):
        encoder, decoder, table = Encoder(), Decoder(), known.fresh
        for fields in sent:
            encoder.header_table_size = data.draw(st.sampled_from([4096, 4096, 150, 0]))
            block = encoder.encode(fields)
            said, table = known.read(table, block)
            assert said == [tuple(field) for field in decoder.decode(block, raw=True)] == fields
            assert table.entries == (
                decoder.header_table.maxsize,
                tuple(decoder.header_table.dynamic_entries),
            )


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (b"\xff\xff\xff\xff", COMPRESSION_ERROR),
        (b"\xbe", COMPRESSION_ERROR),
        (b"\x00\x05abc", COMPRESSION_ERROR),
        (b"\x00\x81\x00\x00", COMPRESSION_ERROR),
        (literal(b"a", bytes(1000)), ENHANCE_YOUR_CALM),
    ],
)
def test_a_block_that_cannot_be_read_is_the_end_of_the_connection(block, code):
    known = blocks()
    with pytest.raises(ConnectionFault) as fault:
        known.read(known.fresh, block)
    assert fault.value.code == code


@settings(deadline=None)
@given(st.binary(max_size=50))
def test_whatever_bytes_come_they_are_fields_or_a_fault(block):
    known = blocks()
    try:
        fields, _ = known.read(known.fresh, block)
    except ConnectionFault:
        return
    assert all(type(name) is bytes and type(value) is bytes for name, value in fields)
