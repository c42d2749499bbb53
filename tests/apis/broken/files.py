"""Damage to the file of a config and to the options of the command line."""

from __future__ import annotations

from .damage import NANO, Damage, edit, kind, misspelt


@kind
def misspelt_top_level_key(rng):
    key = rng.choice(['train_dataloader', 'strategy', 'optim_wrapper', 'param_scheduler', 'custom_hooks'])
    wrong = misspelt(key, rng)
    return Damage(
        'misspelt_top_level_key', wrong, wrong, f'Did you mean {key!r}', text=edit(NANO, f'\n{key} =', f'\n{wrong} =', key)
    )


@kind
def text_that_is_no_python(rng):
    wrong = rng.choice(['model = dict(type=\n', 'model = {\n', 'x = = 3\n'])
    return Damage('text_that_is_no_python', 'line', 'SyntaxError', 'Correct it', text=wrong)


@kind
def a_name_that_is_not_there(rng):
    text = NANO.read_text() + '\nmodel.update(mask_decoder=mask_decodr)\n'
    return Damage('a_name_that_is_not_there', 'line', 'mask_decodr', 'Correct it', text=text)


@kind
def missing_base_file(rng):
    wrong = misspelt('pipeline', rng)
    text = NANO.read_text().replace('datasets.pipeline import', f'datasets.{wrong} import')
    return Damage('missing_base_file', wrong, 'not found', 'Correct it', text=text)


@kind
def unknown_import(rng):
    text = NANO.read_text() + "\ncustom_imports = dict(imports=['my_pakage'])\n"
    return Damage('unknown_import', 'custom_imports', 'my_pakage', 'Install the package', text=text)


@kind
def option_that_changes_nothing(rng):
    key = rng.choice(['lr', 'max_iters', 'batch_size'])
    return Damage('option_that_changes_nothing', key, key, 'no such key', [f'{key}=3'])


@kind
def option_through_no_key(rng):
    wrong = misspelt('mask_decoder', rng)
    return Damage('option_through_no_key', wrong, wrong, "Did you mean 'mask_decoder'", [f'model.{wrong}.depth=2'])
