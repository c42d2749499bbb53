"""The places where the host waits for the device, each with its reason; no other is allowed, and none may be listed in vain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .families import MAKERS

QWEN = frozenset({'qwen2_vl', 'qwen2_5_vl', 'qwen3_vl'})
# those whose answers about an image cannot share its prefix
BY_TRANSFORMERS = frozenset({*MAKERS, 'gemma2', 'gemma3_text', 'mistral', 'phi3'})
PADDING = 'looks whether any token is padding, to leave the mask out'
TILES = 'reads the size of each image to put its tiles together'


@dataclass(frozen=True)
class Wait:
    """A place where the host waits.

    Args:
        place: A file, from the root of its library or of the repository.
        reason: Why it waits, and why that is left.
        cases: Names of the parts under test that have it; those that have not, where ``but`` is True.
        but: See ``cases``.
    """

    place: str
    reason: str
    cases: frozenset[str] = frozenset()
    but: bool = False

    def concerns(self, case: str) -> bool:
        return (case in self.cases) != self.but


def family_file(family: str) -> str:
    return f'transformers/models/{family}/modeling_{family}.py'


# In a step: values that the host reads, and sizes that depend on values
READS = (
    Wait(
        'transformers/masking_utils.py',
        f'{PADDING}; not for windows, and not where the rows of an image are joined',
        frozenset({'gemma3', 'gemma2', 'mistral', 'phi3'}),
        but=True,
    ),
    Wait(
        'transformers/utils/import_utils.py',
        'compares the number of placeholders with the number of image features',
        frozenset(MAKERS),
    ),
    Wait('transformers/vision_utils.py', 'reads the grid of each image', QWEN),
    *(
        Wait(family_file(family), 'reads the grid of each image, and where it stands in its row', frozenset({family}))
        for family in QWEN
    ),
    Wait('backward', 'writes the features of the first layers by a mask of bool (_deepstack_process)', frozenset({'qwen3_vl'})),
    *(Wait(family_file(family), TILES, frozenset({family})) for family in ('llava_next', 'llava_onevision')),
    Wait(family_file('idefics3'), 'leaves out tiles that are all zero', frozenset({'idefics3'})),
)

# In a step: copies from the host's memory to the device
COPIES = (
    Wait('mmengine/model/base_model/data_preprocessor.py', 'the batch; from pinned memory it does not wait', but=True),
    Wait('mmengine/structures/base_data_element.py', 'the masks of the batch; from pinned memory it does not wait', but=True),
    Wait('lisa_mm/models/movable.py', 'the layout of the batch, by way of pinned memory', but=True),
    Wait(
        'segment_anything/modeling/image_encoder.py',
        'the release makes the places of relative positions on the CPU; without gradients ours makes them on the device',
        frozenset({'adapters in both encoders'}),
    ),
    *(
        Wait(family_file(kind), 'makes the places of relative positions on the CPU', frozenset({kind}))
        for kind in ('sam', 'sam_hq')
    ),
    Wait('transformers/vision_utils.py', 'makes places from the grids on the CPU', QWEN),
    *(
        Wait(family_file(family), 'makes places from the grids on the CPU', frozenset({family}))
        for family in (*sorted(QWEN), 'llava_next', 'llava_onevision')
    ),
)

# In an answer of one word, beside those of a step
ANSWER = (
    Wait(
        'transformers/generation/utils.py',
        'looks at the ids of ends and padding, and whether all rows have ended',
        BY_TRANSFORMERS,
    ),
    Wait('lisa_mm/models/generation.py', 'reads the answer when it is complete, to cut each row at its end', BY_TRANSFORMERS),
    Wait('lisa_mm/models/shared_decoding.py', 'the same, where the rows of an image share its prefix', BY_TRANSFORMERS, but=True),
    Wait('lisa_mm/models/prompt_positions.py', 'looks for mask tokens in the complete answer', but=True),
)


def check_places(found: Iterable[str], case: str, waits: Iterable[Wait], what: str) -> None:
    """Fail unless a case waits exactly where it is listed to."""
    found, listed = set(found), {wait.place: wait for wait in waits if wait.concerns(case)}
    unlisted, in_vain = sorted(found - set(listed)), sorted(set(listed) - found)
    assert not unlisted, f'{case}: {what} at {unlisted}, which is not listed in tests/models/waits.py'
    assert not in_vain, f'{case}: no {what} at {in_vain}: take it out of tests/models/waits.py'
