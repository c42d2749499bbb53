"""Files after a crash."""

from __future__ import annotations

import pytest

from lisa_mm.errors import DataError
from lisa_mm.labelling.files import GrowingFile, write_atomically


def test_a_cut_line_is_taken_out_and_said(tmp_path):
    path = tmp_path / 'new' / 'a.jsonl'
    file = GrowingFile(path)
    assert list(file.rows()) == []
    file.add({'a': 'ü' * 100_000})
    file.add({'a': 2})
    with path.open('ab') as raw:
        raw.write(b'{"a": "\xc3')
    file = GrowingFile(path)
    assert file.cut == '{"a": "\ufffd'
    file.add({'a': 3})
    assert [row['a'] for row in file.rows()] == ['ü' * 100_000, 2, 3]
    assert GrowingFile(path).cut == ''


def test_a_cut_first_line_and_a_very_long_one(tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_text('{"a": "' + 'x' * 200_000)
    assert len(GrowingFile(path).cut) == 200_007
    assert path.read_text() == ''


def test_a_last_line_without_its_end_stays(tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_text('{"a": 1}\n{"a": 2}')
    file = GrowingFile(path)
    file.add({'a': 3})
    assert [row['a'] for row in file.rows()] == [1, 2, 3]
    assert file.cut == ''


def test_half_a_surrogate_pair_is_no_crash(tmp_path):
    file = GrowingFile(tmp_path / 'a.jsonl')
    file.add({'a': '\ud800'})
    assert list(file.rows()) == [{'a': '\ud800'}]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_text('{"a": 1}\nmine\n{"a": 2}\n')
    with pytest.raises(DataError, match='line 2 is no json'):
        list(GrowingFile(path).rows())


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / 'x' / 'a.json'
    write_atomically(path, 'one')
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, '\ud800')
    assert path.read_text() == 'one'
