"""Find the wheels that the target machine lacks; wheels.sh calls this before, between and after its downloads."""

from __future__ import annotations

import argparse
import base64
import csv
import email
import hashlib
import io
import runpy
import sys
import zipfile
from pathlib import Path
from unittest import mock

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

HERE = Path(__file__).parent
TARGET = HERE / 'target_packages.txt'
PINS = HERE / 'wheels.txt'
# used by the benchmarks beyond setup.py: language models in 4 bits
MORE = ('bitsandbytes>=0.48',)
# another name for the same modules
STAND_INS = {'opencv-python': 'opencv-python-headless'}
PLATFORMS = [f'manylinux_2_{minor}_x86_64' for minor in range(28, 4, -1)]
PLATFORMS += ['manylinux2014_x86_64', 'manylinux2010_x86_64', 'manylinux1_x86_64', 'linux_x86_64']
MIB = 2**20


def read_packages(path: Path) -> dict[str, Version | None]:
    """Read lines ``name`` or ``name==version``: the version by name, None if it is not given."""
    packages = {}
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        text = line.split('#')[0].strip()
        if not text:
            continue
        name, _, version = text.partition('==')
        try:
            packages[canonicalize_name(name, validate=True)] = Version(version) if version else None
        except ValueError as error:
            raise ValueError(f'{path}, line {number}: {line!r} is not NAME or NAME==VERSION ({error})') from error
    return packages


def project_requirements(setup: Path) -> list[str]:
    """``install_requires`` of a setup.py, which is run with ``setup`` replaced."""
    with mock.patch('setuptools.setup') as call:
        runpy.run_path(str(setup))
    return call.call_args.kwargs['install_requires']


def wheel_requirements(wheel: Path) -> list[str]:
    """``Requires-Dist`` of a wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith('.dist-info/METADATA') and name.count('/') == 1)
        return email.message_from_bytes(archive.read(name)).get_all('Requires-Dist', [])


def fitting_wheels(folder: Path, python: str) -> dict[tuple[str, Version], Path]:
    """The wheels of a folder that fit a Python such as ``3.12`` on x86-64 Linux: path by name and version."""
    version = tuple(map(int, python.split('.')))
    interpreter = f'cp{version[0]}{version[1]}'
    tags = {*cpython_tags(version, platforms=PLATFORMS), *compatible_tags(version, interpreter, PLATFORMS)}
    wheels = {}
    for path in sorted(folder.glob('*.whl')):
        name, number, _, wheel_tags = parse_wheel_filename(path.name)
        if not tags.isdisjoint(wheel_tags):
            wheels[name, number] = path
    return wheels


def walk(requirements: list[str], target: dict, pins: dict, wheels: dict, python: str) -> tuple[list[Path], list[str]]:
    """The packages that the target lacks for these requirements, and recursively for theirs.

    Args:
        requirements: As in setup.py.
        target: The target's packages: version or None by name.
        pins: Packages that may be carried: version by name.
        wheels: Available wheels from :func:`fitting_wheels`: path by (name, version).
        python: The target's Python, ``'3.12'``.

    Returns:
        The wheels to carry, and ``name==version`` of those that are missing; their requirements are unknown
        until they are downloaded.

    Raises:
        ValueError: naming all requirements met by neither the target nor a pin.
    """
    environment = {**default_environment(), 'python_version': python, 'python_full_version': f'{python}.0'}
    environment |= {'sys_platform': 'linux', 'platform_system': 'Linux', 'platform_machine': 'x86_64', 'os_name': 'posix'}
    carried, missing, faults, seen = set(), set(), [], set()
    queue = [(text, 'lisa_mm', frozenset({''})) for text in requirements]
    while queue:
        text, asked_by, extras = queue.pop()
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise ValueError(f'{asked_by} asks for {text!r}, which is not a requirement ({error})') from error
        marker = requirement.marker
        if marker and not any(marker.evaluate({**environment, 'extra': extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        if meets(target, STAND_INS.get(name, name), requirement) or meets(target, name, requirement):
            continue
        if pins.get(name) is None or not meets(pins, name, requirement):
            faults.append(
                f'{asked_by} asks for {requirement}: the target has {state(target, name)}, pinned is {state(pins, name)}'
            )
            continue
        path = wheels.get((name, pins[name]))
        if path is None:
            missing.add(f'{name}=={pins[name]}')
            continue
        carried.add(path)
        # a cycle of requirements ends here
        wanted = (name, frozenset({'', *requirement.extras}))
        if wanted not in seen:
            seen.add(wanted)
            queue += [(more, name, wanted[1]) for more in wheel_requirements(path)]
    if faults:
        raise ValueError('\n  '.join(['not met:', *sorted(faults), f'Pin a version that is asked for in {PINS}.']))
    return sorted(carried), sorted(missing)


def meets(packages: dict, name: str, requirement: Requirement) -> bool:
    """Whether the packages contain this name in a matching or unknown version."""
    if name not in packages:
        return False
    version = packages[name]
    return version is None or requirement.specifier.contains(version, prereleases=True)


def state(packages: dict, name: str) -> str:
    return str(packages.get(name) or 'none')


def slim(wheel: Path, folder: Path, cuda: str) -> Path:
    """Copy bitsandbytes' wheel with only its libraries for one CUDA version and the CPU.

    Args:
        wheel: The published wheel, with a library for each version of CUDA, ROCm and XPU.
        folder: Folder of the copy, whose name has the build tag ``1cudaNNN``.
        cuda: ``'130'`` for CUDA 13.0.

    Raises:
        ValueError: if the wheel has no library for that CUDA.
    """
    library = 'libbitsandbytes_'
    kept = {f'{library}cuda{cuda}.so', f'{library}cpu.so'}
    with zipfile.ZipFile(wheel) as source:
        members = [info for info in source.infolist() if not info.is_dir()]
        there = {Path(info.filename).name for info in members}
        if not kept <= there:
            libraries = ', '.join(sorted(name for name in there if name.startswith(library)))
            raise ValueError(f'{wheel.name} has no {", ".join(sorted(kept - there))}. It has: {libraries}')
        members = [
            info for info in members if not Path(info.filename).name.startswith(library) or Path(info.filename).name in kept
        ]
        contents = {info.filename: source.read(info) for info in members}
    record = next(name for name in contents if name.endswith('.dist-info/RECORD'))
    tags = record.replace('RECORD', 'WHEEL')
    build = f'1cuda{cuda}'
    contents[tags] = contents[tags].replace(b'\nTag:', f'\nBuild: {build}\nTag:'.encode(), 1)
    contents[record] = record_of(contents, record)

    name, version, rest = wheel.name.split('-', 2)
    copy = folder / f'{name}-{version}-{build}-{rest}'
    with zipfile.ZipFile(copy, 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for info in members:
            archive.writestr(info, contents[info.filename], zipfile.ZIP_DEFLATED, 9)
    return copy


def record_of(contents: dict[str, bytes], record: str) -> bytes:
    """RECORD of a wheel: path, sha256 and size of each file; its own line has only the path."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator='\n')
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()
        rows.writerow([name, '', ''] if name == record else [name, f'sha256={digest}', len(content)])
    return text.getvalue().encode()


def report(folder: Path, carried: list[Path], limit: float) -> str:
    """Sizes of the carried wheels and their sum.

    Raises:
        ValueError: if the folder has other wheels, which would also be installed, or the sum exceeds
            ``limit`` MiB.
    """
    others = sorted(path.name for path in folder.glob('*.whl') if path not in carried)
    if others:
        raise ValueError(
            f'{folder} has wheels that are not of this set: {", ".join(others)}. Remove them or name another folder.'
        )
    sizes = {path.name: path.stat().st_size / MIB for path in carried}
    total = sum(sizes.values())
    lines = [f'{size:8.2f} MiB  {name}' for name, size in sizes.items()]
    lines.append(f'{total:8.2f} MiB  {len(sizes)} wheels in {folder}')
    if total > limit:
        raise ValueError('\n'.join([*lines, f'{total:.2f} MiB are more than the {limit:g} MiB that may be carried.']))
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--python', default='3.12', help='of the target (default: %(default)s)')
    commands = parser.add_subparsers(dest='command', required=True)
    command = commands.add_parser('missing', help='print name==version of the wheels that FOLDER lacks, as far as is known')
    command.add_argument('folder', type=Path)
    command = commands.add_parser('report', help='print the sizes; fail above the limit and if FOLDER has other wheels')
    command.add_argument('folder', type=Path)
    command.add_argument('--limit', type=float, default=36, help='MiB (default: %(default)s)')
    command = commands.add_parser('slim', help="copy bitsandbytes' WHEEL into FOLDER with the library of one CUDA version")
    command.add_argument('wheel', type=Path)
    command.add_argument('folder', type=Path)
    command.add_argument('--cuda', default='130', help='digits of its version (default: %(default)s)')
    args = parser.parse_args()

    if args.command == 'slim':
        slim(args.wheel, args.folder, args.cuda)
        return
    requirements = [*project_requirements(HERE.parents[1] / 'setup.py'), *MORE]
    wheels = fitting_wheels(args.folder, args.python)
    carried, missing = walk(requirements, read_packages(TARGET), read_packages(PINS), wheels, args.python)
    if args.command == 'missing':
        print('\n'.join(missing))
    elif missing:
        raise ValueError(f'{args.folder} lacks {", ".join(missing)}. Run wheels.sh.')
    else:
        print(report(args.folder, carried, args.limit))


if __name__ == '__main__':
    try:
        main()
    except ValueError as error:
        sys.exit(f'error: {error}')
