"""Variants, medians, agreement and anchors, without measuring anything."""

from __future__ import annotations

import pytest

from benchmarks.plain.savings import SAVINGS, savings_of
from benchmarks.speed import WORK
from benchmarks.turns import series
from benchmarks.turns.series import ALL, CACHED, PLAIN, Variant
from lisa_mm.errors import UserError


def turn(*seconds, peak=2**30, numbers=(1.0,), rate=1e9):
    parts = {'language model': seconds[0]}
    return {
        'seconds': list(seconds),
        'cpu_seconds': list(seconds),
        'parts': parts,
        'peak': peak,
        'numbers': list(numbers),
        'rate': rate,
        'operations': {'language model': 5e8},
    }


def test_variants():
    assert [one.name for one in series.variants_of('train', as_original=False, each=False, against=None)] == [ALL, CACHED]
    both = series.variants_of('train', as_original=True, each=False, against=None)
    names = tuple(savings_of('train'))
    assert [(one.name, one.savings, one.features) for one in both] == [
        (PLAIN, (), False),
        (ALL, names, False),
        (CACHED, names, True),
    ]
    each = series.variants_of('generate', as_original=False, each=True, against=None)
    assert [one.name for one in each] == [PLAIN, *savings_of('generate'), ALL]
    assert next(one for one in each if one.name == 'shared_answers').savings == ('cache', 'shared_answers')


def test_another_checkout_runs_as_it_is(tmp_path):
    variants = series.variants_of('train', as_original=True, each=False, against=str(tmp_path))
    assert [one.name for one in variants] == [PLAIN, 'allocator', ALL, CACHED, tmp_path.name]  # no git: the folder's name
    assert variants[-1] == Variant(tmp_path.name, None, str(tmp_path))
    data = series.variants_of('data', as_original=True, each=False, against=str(tmp_path))
    assert 'allocator' not in [one.name for one in data]


def test_every_kind_of_work_has_a_saving():
    assert {work for saving in SAVINGS.values() for work in saving.work} == set(WORK)


def test_medians_are_of_rounds():
    plain = [turn(4.0, 6.0), turn(9.0), turn(3.0)]
    own = [turn(1.0), turn(3.0), turn(2.0, peak=2**29)]
    found = series.summary(own, plain)
    assert found['seconds'] == 2.0
    assert found['times as fast'] == 3.0  # of 5 / 1, 9 / 3, 3 / 2
    assert found['of the memory'] == 1.0
    assert found['share of the rate'] == pytest.approx(0.25)  # 5e8 operations in 2 s of 1e9 per second


def test_a_base_that_is_a_turn_ahead():
    assert series.ratio([turn(1.0)], [turn(2.0), turn(100.0)]) == 2.0


def test_disagreement_is_an_error():
    variants = [Variant(PLAIN, ()), Variant(ALL, ('allocator',)), Variant('old', None, '/old')]
    turns = {PLAIN: [turn(1.0, numbers=(1.0, 2000.0))], ALL: [turn(1.0, numbers=(1.0, 2001.0))], 'old': [turn(1.0, numbers=())]}
    series.check_agreement('train', variants, turns)
    turns[ALL] = [turn(1.0, numbers=(1.1, 2000.0))]
    with pytest.raises(UserError, match='a plain piece is wrong'):
        series.check_agreement('train', variants, turns)


@pytest.mark.parametrize(('seconds', 'holds'), [(2.0, True), (1.7, False), (2.6, False)])
def test_the_anchor_is_within_15_percent(seconds, holds):
    variants = [Variant(PLAIN, ()), Variant(ALL, ()), Variant('d96c19b', None, '/old')]
    turns = {PLAIN: [turn(seconds)], ALL: [turn(0.5)], 'd96c19b': [turn(1.0)]}
    (found,) = series.anchors('train', 'mid', variants, turns)
    assert found == {'variant': PLAIN, 'commit': 'd96c19b', 'measured': seconds, 'known': 2.14, 'holds': holds}
    assert series.anchors('train', 'nano', variants, turns) == []
    assert series.anchors('validate', 'mid', variants, turns) == []


def test_a_turn_that_fails_is_an_error(tmp_path):
    (tmp_path / 'lisa_mm').mkdir()
    (tmp_path / 'lisa_mm' / '__init__.py').write_text("raise RuntimeError('broken')")
    with pytest.raises(UserError, match=r'the measured process failed:\n(.|\n)*broken'):
        series.run_turn(Variant('x', None, str(tmp_path)), 'train', 'tiny', threads=1, steps=1, operations=False)
