from __future__ import annotations

from dataclasses import dataclass

from lisa_mm.demo.shelf import Shelf


@dataclass
class Thing:
    nbytes: int


def test_what_was_used_longest_ago_goes_first() -> None:
    shelf: Shelf[Thing] = Shelf(100)
    shelf.put('a', Thing(40))
    shelf.put('b', Thing(40))
    assert shelf.get('a') is not None  # used again
    shelf.put('c', Thing(40))
    assert [shelf.get(key) is not None for key in 'abc'] == [True, False, True]
    assert shelf.nbytes == 80


def test_the_newest_stays_whatever_its_size() -> None:
    shelf: Shelf[Thing] = Shelf(100)
    shelf.put('a', Thing(40))
    shelf.put('b', Thing(1000))
    assert shelf.get('a') is None
    assert shelf.get('b') == Thing(1000)


def test_a_thing_takes_the_place_of_the_earlier_one() -> None:
    shelf: Shelf[Thing] = Shelf(100)
    shelf.put('a', Thing(90))
    shelf.put('a', Thing(80))
    assert (len(shelf), shelf.nbytes) == (1, 80)
    shelf.remove('a')
    shelf.remove('a')
    assert len(shelf) == 0


def test_keys_are_not_guessed() -> None:
    keys = {Shelf.new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) >= 22 for key in keys)  # 128 bits, 6 bits a letter
