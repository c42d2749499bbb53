"""What a model was trained on, through the import of a published checkpoint, a training, and both exports."""

from __future__ import annotations

from lisa_mm.apis.training import build_runner
from lisa_mm.checkpoints.exporting import export_checkpoint
from lisa_mm.checkpoints.ledger import Ledger, read_ledger
from lisa_mm.config import load_config

from .checkpoints import import_lisa, lisa_folder
from .test_checkpoints import options, quick

SILENT = 'imported from the LISA checkpoint {}, which does not say what it was trained on'


def test_the_record_goes_with_the_weights(golden, tmp_path):
    imported, work = tmp_path / 'lisa', tmp_path / 'work'
    import_lisa(golden, imported)
    unknown = (SILENT.format(lisa_folder(golden).name),)
    assert read_ledger(imported) == Ledger(unknown=unknown)

    given = [option for option in options(golden) if not option.startswith('strategy')]
    source = quick(load_config(imported / 'config.py', (), given))
    build_runner(source, work, launcher='none').train()
    (work / 'config.py').write_text(source.pretty_text)
    export_checkpoint(work, tmp_path / 'folder', layout='folder')
    export_checkpoint(work, tmp_path / 'published')
    import_lisa(golden, tmp_path / 'back', tmp_path / 'published')

    ledgers = [read_ledger(folder) for folder in (work, tmp_path / 'folder', tmp_path / 'back')]
    known = [([entry.key for entry in ledger.data_sets], ledger.unknown) for ledger in ledgers if ledger is not None]
    assert known[0] == known[1] == known[2]
    assert known[0][0] and known[0][1] == unknown
