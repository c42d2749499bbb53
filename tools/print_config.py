"""Print a config: as written, or compiled with what follows from the parts."""

from __future__ import annotations

import argparse

from lisa_mm.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python tools/print_config.py configs/lisa/lisa_nano.py --compiled',
    )
    parser.add_argument('config')
    parser.add_argument(
        '--compiled', action='store_true', help='with derived values, each listed at the end, and an example of what carries loss'
    )
    parser.add_argument('--swap', nargs='+', default=[], metavar='PART=NAME')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE')
    args = parser.parse_args()

    from lisa_mm.apis.checking import image_tokens_by_size
    from lisa_mm.apis.examples import example_conversation
    from lisa_mm.config import compile_with_model, derived_values, load_config

    source = load_config(args.config, args.swap, args.cfg_options)
    if not args.compiled:
        print(source.pretty_text)
        return
    compiled, model = compile_with_model(source)
    print(compiled.pretty_text)
    print('# derived:')
    for key, value in derived_values(source, compiled):
        print(f'#   {key} = {value!r}')
    spec = model.mllm.tokenizer_spec
    example = example_conversation(spec, next(iter(image_tokens_by_size(model.mllm, {'not_checked': []}).values()), 0))
    print(f'# a conversation in the template {spec["template"]!r}, what carries loss in «»:')
    print('#   ' + example.text.replace('\n', '\\n'))
    if example.missing:
        print(f'#   not checked: {example.missing} missing')


if __name__ == '__main__':
    run_command(main)
