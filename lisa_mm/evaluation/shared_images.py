"""Images of an evaluation split that the model was trained on."""

from __future__ import annotations

import numpy as np

from ..checkpoints.ledger import Ledger
from ..datasets.base import BaseSegDataset
from ..datasets.identities import identities
from .results import SharedImages


def find_shared(ledger: Ledger | None, dataset: BaseSegDataset) -> SharedImages | None:
    """The images of a split that are in the data sets of a ledger, see :func:`lisa_mm.datasets.identities.identity_text`.

    Args:
        ledger: The model's; None if its checkpoint has none.
        dataset: The split.

    Returns:
        None if that is not known: without a ledger, and where an incomplete one shows no shared image. A number from an
        incomplete ledger is a lower bound.
    """
    if ledger is None:
        return None
    own = identities(dataset)
    shared, names = np.zeros(len(own), bool), []
    for one in ledger.data_sets:
        hits = np.isin(own, one.images)
        shared |= hits
        names += [one.name] if hits.any() else []
    if ledger.unknown and not names:
        return None
    return SharedImages(images=int(shared.sum()), data_sets=list(dict.fromkeys(names)))


def shared_line(title: str, shared: SharedImages, images: int) -> str:
    """A sentence about shared images.

    >>> shared_line('refCOCO val', SharedImages(images=1500, data_sets=['refer_seg: refcoco (unc) train']), 1500)
    'refCOCO val: 1,500 of 1,500 images are in the training data (refer_seg: refcoco (unc) train)'

    Args:
        title: The split.
        shared: What :func:`find_shared` found.
        images: Number of images of the split.
    """
    verb = 'is' if shared.images == 1 else 'are'
    where = f' ({", ".join(shared.data_sets)})' if shared.data_sets else ''
    return f'{title}: {shared.images:,} of {images:,} images {verb} in the training data{where}'
