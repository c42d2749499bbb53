"""The texts of the demo set: explicit phrases, implicit questions, explanations, captions and simple questions.

`{}` stands for a noun such as "thing", or "red thing" if only the colour makes the question unambiguous.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .kinds import COLOURS, KINDS
from .scenes import ObjectSpec, SceneObject

NOUNS = ('thing', 'object', 'item')

IMPLICIT: dict[str, tuple[str, ...]] = {
    'ball': (
        'the {} that bounces when it is dropped',
        'which {} could be kicked into a goal?',
        'the {} that players pass to each other',
        'which {} would a dog love to fetch?',
        'the {} that tennis and golf are played with',
        'which {} could a child throw and catch?',
        'the {} that rolls away in any direction',
        'which {} might be dribbled down a court?',
        'the {} a goalkeeper tries to stop',
    ),
    'boat': (
        'the {} that carries people over water',
        'which {} could cross a lake?',
        'the {} pushed along by wind in its sails',
        'which {} would a sailor steer?',
        'the {} that can be moored in a harbour',
        'which {} needs an anchor?',
        'the {} with a mast and a hull',
        'which {} could bring passengers to an island?',
        'the {} a captain commands',
    ),
    'book': (
        'the {} that has pages',
        'which {} could be read before sleeping?',
        'the {} an author wrote',
        'which {} could be borrowed from a library?',
        'the {} divided into chapters',
        'which {} tells a story in printed words?',
        'the {} a student would study from',
        'which {} has a title and a table of contents?',
        'the {} someone would open to read',
    ),
    'bottle': (
        'the {} closed by a cork or a cap',
        'which {} keeps juice sealed on a trip?',
        'the {} with a narrow neck for pouring',
        'which {} could carry a message across the sea?',
        'the {} in which wine is sold',
        'which {} would a hiker carry water in?',
        'the {} that can be uncorked',
        'which {} would store milk under a screw cap?',
        'the {} that baby milk and ketchup are sold in',
    ),
    'candle': (
        'the {} whose wax melts',
        'which {} burns with a flickering flame?',
        'the {} to blow out on a birthday cake',
        'which {} is lit with a match?',
        'the {} that gives light during a power cut',
        'which {} would make a dinner table romantic?',
        'the {} with a wick',
        'which {} glows warmly in the dark?',
        'the {} that gets shorter as it burns',
    ),
    'car': (
        'the {} that drives on roads',
        'which {} has an engine and four wheels?',
        'the {} that needs petrol',
        'which {} could take a family along a motorway?',
        'the {} to be parked in a garage',
        'which {} has headlights and a windscreen?',
        'the {} someone needs a driving licence for',
        'which {} would stop at a traffic light?',
        'the {} whose tyres a mechanic would change',
    ),
    'chair': (
        'the {} someone could sit on',
        'which {} would give tired legs a rest?',
        'the {} that belongs at a dining table',
        'which {} has a seat and a backrest?',
        'the {} to pull up to a desk',
        'which {} would a guest be asked to sit on?',
        'the {} made for sitting',
        'which {} is a piece of furniture?',
        'the {} that offers a place to sit down',
    ),
    'clock': (
        'the {} that tells the time',
        'which {} shows the hour and the minute?',
        'the {} that rings to wake sleepers up',
        'which {} has hands but no arms?',
        'the {} that ticks all day',
        'which {} warns someone who is running late?',
        'the {} to set before going to bed',
        'which {} counts minutes and hours?',
        'the {} with a dial and two hands',
    ),
    'cup': (
        'the {} to drink hot tea from',
        'which {} would hold a morning coffee?',
        'the {} that is filled from a teapot',
        'which {} would someone sip cocoa from?',
        'the {} to stir sugar and milk in',
        'which {} goes under the coffee machine?',
        'the {} to dip a biscuit into',
        'which {} could hold a hot drink?',
        'the {} that tea is served in',
    ),
    'fish': (
        'the {} that is alive and swims',
        'which {} breathes under water?',
        'the {} that has gills',
        'which {} is an animal?',
        'the {} that lives in ponds and rivers',
        'which {} could be caught with a rod?',
        'the {} covered in scales',
        'which {} would a cat like to eat?',
        'the {} that would live in an aquarium',
    ),
    'hammer': (
        'the {} that drives nails into wood',
        'which {} would a carpenter swing?',
        'the {} with a heavy head for pounding',
        'which {} belongs in a toolbox?',
        'the {} a blacksmith would use on an anvil',
        'which {} could smash a brick?',
        'the {} that pulls nails out with its claw',
        'which {} is a tool for hitting?',
        'the {} needed to nail a fence together',
    ),
    'hat': (
        'the {} worn on the head',
        'which {} would a cowboy wear?',
        'the {} to take off when greeting someone',
        'which {} could cover a bald spot?',
        'the {} with a brim and a ribbon',
        'which {} is a piece of clothing?',
        'the {} a gentleman would lift politely',
        'which {} would hide messy hair?',
        'the {} a magician pulls a rabbit from',
    ),
    'house': (
        'the {} a family lives in',
        'which {} has a roof and a front door?',
        'the {} that is built of bricks',
        'which {} has a kitchen and bedrooms?',
        'the {} someone comes back to after work',
        'which {} would an estate agent sell?',
        'the {} with a chimney',
        'which {} is a building?',
        'the {} that people rent to live in',
    ),
    'key': (
        'the {} that opens a lock',
        'which {} unlocks a door?',
        'the {} made by a locksmith',
        'which {} would open a treasure chest?',
        'the {} someone might hide under the doormat',
        'which {} is turned in a lock?',
        'the {} that somebody locked out would need',
        'which {} would a jailer guard?',
        'the {} a hotel guest gets for the room',
    ),
    'kite': (
        'the {} to fly on a string',
        'which {} soars in the sky on windy days?',
        'the {} with a long tail that flies',
        'which {} do children fly at the beach?',
        'the {} that could get tangled in a tree top',
        'which {} is held in the sky by a line?',
        'the {} made of paper and light sticks',
        'which {} is a toy that rises on a breeze?',
        'the {} that climbs higher when wind blows',
    ),
    'umbrella': (
        'the {} that keeps the rain off',
        'which {} would help in a downpour?',
        'the {} to open when it starts raining',
        'which {} is folded up after a shower?',
        'the {} that keeps someone dry while walking',
        'which {} would be handy on a wet day?',
        'the {} held overhead in a storm',
        'which {} has ribs, cloth and a curved handle?',
        'the {} to bring when rain is forecast',
    ),
}

EXPLANATIONS: dict[str, str] = {
    'ball': 'is round, so it bounces and can be thrown, kicked or rolled',
    'boat': 'floats, so it carries people over the water',
    'book': 'has printed pages, so it can be read',
    'bottle': 'has a narrow neck and a cap, so it keeps a drink sealed',
    'candle': 'has a wick and wax, so it burns and gives light',
    'car': 'has an engine and wheels, so it drives on roads',
    'chair': 'has a seat and a backrest, so someone can sit on it',
    'clock': 'has hands that turn, so it tells the time',
    'cup': 'has a handle and holds hot drinks, so tea is drunk from it',
    'fish': 'is an animal with gills, so it lives under water',
    'hammer': 'has a heavy head, so it drives nails into wood',
    'hat': 'has a brim and a crown, so it is worn on the head',
    'house': 'has walls and a roof, so people live in it',
    'key': 'fits a lock, so it opens the door',
    'kite': 'is light and tied to a string, so the wind lifts it',
    'umbrella': 'opens into a roof of cloth, so it keeps the rain off',
}

COUNTS = ('no', 'one', 'two')


def _unique(objects: Sequence[ObjectSpec], spec: ObjectSpec, *attributes: str) -> bool:
    """Whether no other object shares all these attributes with `spec`."""
    return sum(all(getattr(o, a) == getattr(spec, a) for a in attributes) for o in objects) == 1


def explicit_phrases(objects: Sequence[ObjectSpec], spec: ObjectSpec) -> list[str]:
    """Phrases that name exactly this object of the scene, shortest first; the last is the full name."""
    combinations = (('kind',), ('colour', 'kind'), ('size', 'kind'), ('size', 'colour', 'kind'))
    return ['the ' + ' '.join(getattr(spec, a) for a in c) for c in combinations if _unique(objects, spec, *c)]


def implicit_phrases(objects: Sequence[ObjectSpec], spec: ObjectSpec, rng: np.random.Generator, count: int = 3) -> list[str]:
    """`count` different phrasings by function or property; none if neither the kind nor kind and colour are unique."""
    if not _unique(objects, spec, 'kind', 'colour'):
        return []
    colour = '' if _unique(objects, spec, 'kind') else f'{spec.colour} '
    phrasings = rng.permutation(len(IMPLICIT[spec.kind]))[:count]
    return [IMPLICIT[spec.kind][i].format(colour + NOUNS[rng.integers(len(NOUNS))]) for i in phrasings]


def texts_of(
    objects: Sequence[ObjectSpec], spec: ObjectSpec, is_sentence: bool, rng: np.random.Generator
) -> tuple[list[str], bool]:
    """Two or three texts that ask for an object, and whether they are implicit: explicit ones are used if none fits."""
    texts = implicit_phrases(objects, spec, rng) if is_sentence else []
    if texts:
        return texts, True
    phrases = explicit_phrases(objects, spec)
    if len(phrases) == 1:
        phrases.append(f'the {spec.colour} {spec.kind} that is {spec.size}')
    return [phrases[i] for i in rng.permutation(len(phrases))[:3]], False


def explanation(spec: ObjectSpec) -> str:
    """A sentence that names the object and says what makes it the answer."""
    return f'The {spec.name} {EXPLANATIONS[spec.kind]}.'


def _with_article(words: str) -> str:
    return ('an ' if words[0] in 'aeiou' else 'a ') + words


def plural(kind: str) -> str:
    return {'fish': 'fish'}.get(kind, kind + 's')


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + '.'


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ', '.join(words[:-1]) + ' and ' + words[-1]


def caption(objects: Sequence[SceneObject], rng: np.random.Generator) -> tuple[str, str]:
    """A question about the whole scene; the answer lists all objects from left to right by size, colour and kind."""
    questions = ('What is in this image?', 'What can be seen in this picture?', 'Describe this image.', 'List the objects.')
    names = [_with_article(o.name) for o in sorted(objects, key=lambda o: o.centre)]
    return questions[rng.integers(len(questions))], _sentence(_listed(names))


def simple_question(objects: Sequence[SceneObject], rng: np.random.Generator) -> tuple[str, str]:
    """A question about colour, presence, size or number, and its answer; nothing about functions."""
    ordered = sorted(objects, key=lambda o: o.centre)
    spec = ordered[rng.integers(len(ordered))]
    form = int(rng.integers(6))
    if form == 0 and (named := [p for p in explicit_phrases(objects, spec) if spec.colour not in p.split()]):
        return f'What colour is {named[0]}?', _sentence(f'{named[0]} is {spec.colour}')
    if form == 1 and (named := [p for p in explicit_phrases(objects, spec) if spec.size not in p.split()]):
        return f'Is {named[0]} small or large?', _sentence(f'{named[0]} is {spec.size}')
    if form == 2:
        size = ('small', 'large')[rng.integers(2)]
        names = [f'the {o.colour} {o.kind}' for o in ordered if o.size == size]
        return f'Which objects are {size}?', _sentence(_listed(names) if names else 'none of them')
    if form == 3:
        colour = spec.colour if rng.random() < 0.8 else list(COLOURS)[rng.integers(len(COLOURS))]
        names = [f'the {o.size} {o.kind}' for o in ordered if o.colour == colour]
        return f'Which objects are {colour}?', _sentence(_listed(names) if names else 'none of them')
    if form == 4:
        count = sum(o.kind == spec.kind for o in objects)
        verb = 'is' if count == 1 else 'are'
        answer = f'there {verb} {COUNTS[count]} {spec.kind if count == 1 else plural(spec.kind)}'
        return f'How many {plural(spec.kind)} are there?', _sentence(answer)
    absent = [k for k in KINDS if all(o.kind != k for o in objects)]
    kind = spec.kind if rng.random() < 0.5 else absent[rng.integers(len(absent))]
    found = any(o.kind == kind for o in objects)
    answer = f'yes, there is {_with_article(kind)}' if found else f'no, there is no {kind}'
    return f'Is there {_with_article(kind)} in this image?', _sentence(answer)
