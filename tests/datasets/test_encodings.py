"""Texts are read in the encoding that a file or its owner names; any other is an error that names the likely one."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from lisa_mm.datasets import JsonlSegDataset, SemSegDataset
from lisa_mm.datasets.encodings import check_encoding, decode_text, is_typographic, read_lines, read_text
from lisa_mm.datasets.reading import read_csv, read_json, read_rows
from lisa_mm.errors import ConfigError, DataError

SENTENCES = {
    'gb18030': '请找出图中的红色杯子',
    'big5': '請找出圖中的紅色杯子',
    'cp932': '赤いカップを見つけて',
    'cp949': '빨간 컵을 찾아라',
    'cp1251': 'Найди на картинке красную чашку',
    'cp1253': 'το κόκκινο φλιτζάνι',
    'cp1252': 'the café’s “red” door',
}


def as_json(text):
    return json.dumps([{'question': text, 'answer': 'x'}], ensure_ascii=False)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_a_mark_says_the_encoding(encoding, tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(as_json('红 é 😀').encode(encoding))
    assert read_json(path)[0]['question'] == '红 é 😀'
    lines = tmp_path / 'a.jsonl'
    lines.write_bytes('{"a": "é"}\n\n{"a": "红"}'.encode(encoding))
    assert [row()['a'] for _, _, row in read_rows(lines)] == ['é', '红']
    assert [number for _, number, _ in read_rows(lines)] == [1, 3]


@pytest.mark.parametrize('encoding', SENTENCES)
def test_another_encoding_is_named_and_read_on_request(encoding, tmp_path):
    text = SENTENCES[encoding]
    path = tmp_path / 'a.json'
    path.write_bytes(as_json(text).encode(encoding))
    with pytest.raises(DataError) as error:
        read_json(path)
    message = str(error.value)
    assert 'a.json is not in UTF-8' in message
    assert f'likely {encoding} (a text would be "{text[:30]}"' in message
    assert f"iconv -f {encoding} -t UTF-8 '{path}'" in message and f'encoding={encoding!r}' in message
    assert read_json(path, encoding)[0]['question'] == text
    dataset = JsonlSegDataset(str(tmp_path), file='a.json', encoding=encoding)
    assert dataset.get_data_info(0)['questions'][0]['turns'][0][0] == text


def test_each_reader_of_text_refuses_it(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_bytes('name\nTür\n'.encode('cp1252'))
    for read in (lambda: list(read_csv(path, ['name'])), lambda: list(read_lines(path)), lambda: read_text(path)):
        with pytest.raises(DataError, match=r'a.csv is not in UTF-8 \(byte 6'):
            read()
    assert next(read_csv(path, ['name'], 'cp1252'))[1] == {'name': 'Tür'}


def test_utf_16_without_a_mark_and_zero_bytes(tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(as_json('abc').encode('utf-16-le'))
    with pytest.raises(DataError, match=r"a.json holds zero characters: it may be UTF-16 .* \(encoding='utf-16-le'\)"):
        read_json(path)
    assert read_json(path, 'utf-16-le')[0]['question'] == 'abc'


def test_a_given_encoding_that_is_wrong(tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(as_json('é').encode())
    for encoding, reason in (('ascii', 'ordinal not in range'), ('utf-32', 'code point not in range'), ('idna', '')):
        with pytest.raises(
            DataError, match=f"encoding='{encoding}' was given, but .*a.json is not in {encoding.upper()} .*{reason}"
        ):
            read_text(path, encoding)
        with pytest.raises(DataError, match='It is in UTF-8: leave encoding out'):
            read_text(path, encoding)
    with pytest.raises(DataError, match='does not start with BOM'):
        list(read_lines(path, 'utf-16'))


@pytest.mark.parametrize('name', ['foo', 'base64', '', 5, 'undefined'])
def test_an_unknown_encoding(name, tmp_path):
    assert check_encoding(name, 'X') == [
        f"X.encoding is {name!r}, which Python doesn't know. Examples: 'utf-8', 'gbk', 'cp1252', 'utf-16'."
    ]
    for build in (lambda: JsonlSegDataset(str(tmp_path), encoding=name), lambda: SemSegDataset(name='mapillary', encoding=name)):
        with pytest.raises(ConfigError, match="which Python doesn't know"):
            build()
    assert JsonlSegDataset.argument_faults({'encoding': name})


def test_only_punctuation_and_single_letters_are_surely_cp1252():
    for text in ('the café’s naïve owner', 'a – b … “c” ½ 20°', 'Ñandú'):
        assert is_typographic(text.encode('cp1252')), text
    for encoding, text in SENTENCES.items():
        assert is_typographic(text.encode(encoding)) == (encoding == 'cp1252'), text
    assert not is_typographic('öä'.encode('cp1252'))


def test_damaged_utf_8_is_not_taken_for_another_encoding_by_itself(tmp_path):
    raw = '红色杯子'.encode()
    with pytest.raises(DataError, match=r'a.txt is not in UTF-8'):
        decode_text(raw[:-1] + b'\xff', tmp_path / 'a.txt')


def test_missing_files_and_folders(tmp_path):
    for read in (read_text, lambda path: list(read_lines(path))):
        with pytest.raises(DataError, match='is missing or unreadable'):
            read(tmp_path / 'no')
        with pytest.raises(DataError, match='is a folder, a file is needed'):
            read(tmp_path)


def test_a_key_twice_and_rows_in_the_wrong_kind_of_file(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('[{"question": "a", "question": "b", "answer": "c"}]')
    with pytest.raises(DataError, match=r"a.json is no json \(the key 'question' occurs twice in one object\)"):
        JsonlSegDataset(str(tmp_path), file='a.json')
    path.write_text('{"question": "a", "answer": "c"}\n{"question": "b", "answer": "c"}\n')
    with pytest.raises(DataError, match=r'It holds one object per line: give it the suffix .jsonl'):
        JsonlSegDataset(str(tmp_path), file='a.json')
    path.write_text('{"question": "a", "answer": "c"}')
    with pytest.raises(DataError, match=r'expected a list of rows, got an object. One row per line needs the suffix .jsonl'):
        JsonlSegDataset(str(tmp_path), file='a.json')


def test_unknown_fields_are_noted_and_misspelt_ones_refused(tmp_path):
    Image.new('RGB', (6, 4)).save(tmp_path / 'a.png')
    (tmp_path / 'a.json').write_text(json.dumps([{'image': 'a.png', 'phrase': 'x', 'masks': [], 'annotator': 'me'}] * 2))
    dataset = JsonlSegDataset(str(tmp_path), file='a.json')
    assert dataset.notes == {"row: the unknown field 'annotator' is not read": 2}
    again = JsonlSegDataset(str(tmp_path), file='a.json')  # from the index on disk
    assert again.notes == dataset.notes
    (tmp_path / 'a.json').write_text(json.dumps([{'image': 'a.png', 'phrase': 'x', 'mask': []}]))
    with pytest.raises(DataError, match="row 0: mask is no known field, and 'masks' is missing"):
        JsonlSegDataset(str(tmp_path), file='a.json')
