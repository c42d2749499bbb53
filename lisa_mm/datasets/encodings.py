"""Text files are UTF-8, or what their byte order mark or the user says; an encoding is never guessed."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from charset_normalizer import from_bytes

from ..errors import DataError

# a mark of UTF-32 begins with one of UTF-16, so it comes first
MARKS = (
    (codecs.BOM_UTF8, 'utf-8-sig'),
    (codecs.BOM_UTF32_LE, 'utf-32'),
    (codecs.BOM_UTF32_BE, 'utf-32'),
    (codecs.BOM_UTF16_LE, 'utf-16'),
    (codecs.BOM_UTF16_BE, 'utf-16'),
)
TYPOGRAPHY = bytes.fromhex('80 82 84 85 8b 91 92 93 94 95 96 97 99 9b a0 a3 a9 ab ad ae b0 b1 b4 b7 b9 ba bb bc bd be d7 f7')
GUESS_FROM = 1_000_000  # first bytes of a file that a guess looks at
NOT_ASCII = re.compile(rb'[\x80-\xff]+')
QUOTED = re.compile(rb'(?<=")[^"\n]*[\x80-\xff][^"\n]*')
LINES = re.compile(rb'[^\n]*[\x80-\xff][^\n]*')
# encodings in which files are saved today; others that fit by chance would be a distraction
IN_USE = frozenset(
    'gb18030 gbk big5 big5hkscs cp932 shift_jis euc_jp cp949 euc_kr cp874 koi8_r koi8_u '
    f'{" ".join(f"cp125{n}" for n in range(9))} iso8859_2 iso8859_5 iso8859_7 iso8859_9'.split(' ')
)


def check_encoding(encoding: str | None, owner: str) -> list[str]:
    """The fault of an argument ``encoding``: a list of no or one sentence."""
    if encoding is None:
        return []
    try:
        codecs.lookup(encoding)
        'a'.encode(encoding)  # some codecs, base64 for one, are no encodings of text
    except (LookupError, TypeError, UnicodeError):
        return [f"{owner}.encoding is {encoding!r}, which Python doesn't know. Examples: 'utf-8', 'gbk', 'cp1252', 'utf-16'."]
    return []


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: if it is missing or unreadable.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise missing_file(path, error) from error


def missing_file(path: Path, error: OSError) -> DataError:
    """The error for a file that can't be opened."""
    if path.is_dir():
        return DataError(f'{path} is a folder, a file is needed. Look at data_root.', file=path)
    return DataError(f'{path} is missing or unreadable ({error.strerror}). Look at data_root.', file=path)


def read_text(path: Path, encoding: str | None = None) -> str:
    """Read a text file.

    Args:
        path: The file.
        encoding: Its encoding. None: what its byte order mark says (UTF-8, UTF-16, UTF-32), otherwise UTF-8.

    Raises:
        DataError: if it is missing or in another encoding; names the likely one.
    """
    return decode_text(read_bytes(path), path, encoding)


def decode_text(raw: bytes, path: Path, encoding: str | None = None) -> str:
    """The text of a file's bytes, as :func:`read_text` reads it."""
    chosen = encoding or marked_encoding(raw[:4])
    try:
        text = raw.decode(chosen)
    except UnicodeError as error:
        raise wrong_encoding(path, chosen, raw, error, given=encoding is not None) from error
    return refuse_zeros(text, path)


def read_lines(path: Path, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file with their numbers from 1, as a stream; a line ends at a line feed alone.

    Args:
        path: The file.
        encoding: See :func:`read_text`.

    Raises:
        DataError: if it is missing or in another encoding; names the likely one.
    """
    chosen = encoding or ''
    try:
        with path.open('rb') as file:
            chosen = encoding or marked_encoding(file.read(4))
        with path.open(encoding=chosen, newline='\n') as lines:
            for number, line in enumerate(lines, 1):
                yield number, refuse_zeros(line, path)
    except UnicodeError as error:
        raise wrong_encoding(path, chosen, read_bytes(path), error, given=encoding is not None) from error
    except OSError as error:
        raise missing_file(path, error) from error


def marked_encoding(start: bytes) -> str:
    """The encoding that a byte order mark names; UTF-8 without one."""
    return next((name for mark, name in MARKS if start.startswith(mark)), 'utf-8')


def refuse_zeros(text: str, path: Path) -> str:
    """The text itself; the letters of UTF-16 without a mark are valid UTF-8 with a zero character beside each.

    Raises:
        DataError: if it holds a zero character.
    """
    if '\0' in text:
        raise DataError(
            f'{path} holds zero characters: it may be UTF-16 without a byte order mark, or damaged. If it is UTF-16, say so '
            f"(encoding='utf-16-le'), or convert it: {conversion(path, 'UTF-16LE')}",
            file=path,
        )
    return text


def wrong_encoding(path: Path, tried: str, raw: bytes, error: UnicodeError, *, given: bool) -> DataError:
    """The error for bytes that are no text of an encoding, with the likely ones."""
    what = f'encoding={tried!r} was given, but {path}' if given else f'{path}'
    # some codecs tell no place
    reason = f'byte {error.start}: {error.reason}' if isinstance(error, UnicodeDecodeError) else str(error)
    fault = f'{what} is not in {tried.removesuffix("-sig").upper()} ({reason}).'
    if given and is_utf8(raw):
        return DataError(f'{fault} It is in {marked_encoding(raw[:4]).upper()}: leave encoding out.', file=path)
    likely = likely_encodings(raw)
    if not likely:
        return DataError(f'{fault} Its encoding is unknown; it may be damaged or no text. Save it as UTF-8.', file=path)
    shown = ', '.join(f'{name} (a text would be "{text}")' for name, text in likely.items())
    first = next(iter(likely))
    return DataError(
        f'{fault} It is likely {shown}. Convert it to UTF-8, for example {conversion(path, first)}, or give the data set '
        f'encoding={first!r}.',
        file=path,
    )


def conversion(path: Path, encoding: str) -> str:
    """A command that converts a file to UTF-8."""
    return f"iconv -f {encoding} -t UTF-8 '{path}' > '{path}.utf8'"


def likely_encodings(raw: bytes) -> dict[str, str]:
    """Up to three encodings that the texts of a file are likely in, best first, each with how a text reads in it."""
    # the syntax around the texts is ASCII in every encoding and says nothing
    pieces = [match[0] for match in QUOTED.finditer(raw[:GUESS_FROM])] or [match[0] for match in LINES.finditer(raw[:GUESS_FROM])]
    found = [match.encoding for match in from_bytes(b' '.join(pieces)) if match.encoding in IN_USE]
    if is_typographic(raw):
        found.insert(0, 'cp1252')
    texts = {}
    for encoding in found:
        text = pieces[0].decode(encoding, errors='replace')[:30] if pieces else ''  # shown only
        if text not in texts.values():
            texts[encoding] = text
    return dict(list(texts.items())[:3])


def is_utf8(raw: bytes) -> bool:
    """Whether bytes are text in UTF-8, or say by a mark that they are in another encoding."""
    try:
        raw.decode(marked_encoding(raw[:4]))
    except UnicodeDecodeError:
        return False
    return True


def is_typographic(raw: bytes) -> bool:
    """Whether bytes can only be cp1252: each run that is not ASCII is typographic punctuation with at most one letter.

    Words of Chinese, Japanese or Russian encodings are longer runs, and would read as valid cp1252 too.

    >>> is_typographic(b'the caf\\xe9\\x92s door'), is_typographic('红色'.encode('gbk'))
    (True, False)
    """
    return all(len(match[0].translate(None, TYPOGRAPHY)) <= 1 for match in NOT_ASCII.finditer(raw))
