"""Many clients at once ask a served model: batches of several questions against one question at a time.

Both servers run side by side and are asked in turns, each request about an image of its own, so that a busy machine slows both
equally. Each answer is checked: it must be about the image that was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lisa_mm.errors import UserError

from . import checkout_environment

TOOL = Path(__file__).parents[1] / 'tools' / 'serve.py'
QUESTION = 'the red ball'


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    threads = os.environ.get('OMP_NUM_THREADS', 'unset')
    print(f'{args.clients} clients x {args.requests} requests, in {args.turns} turns, {args.model}, OMP_NUM_THREADS {threads}')
    bodies = [[body(args.side, client, n) for n in range(args.requests)] for client in range(args.clients)]
    sizes = {f'batches up to {args.batch}': args.batch, 'one at a time': 1}
    waits: dict[str, list[float]] = {name: [] for name in sizes}
    seconds = dict.fromkeys(sizes, 0.0)
    with ExitStack() as stack:
        addresses = {name: stack.enter_context(served(args.model, size)) for name, size in sizes.items()}
        for turn in range(args.turns):
            some = [own[turn :: args.turns] for own in bodies]
            for name, address in addresses.items():
                begin = time.perf_counter()
                waits[name] += asyncio.run(ask_all(address, some))
                seconds[name] += time.perf_counter() - begin
        means = {name: mean_batch(address) for name, address in addresses.items()}
    print(f'{"":20} {"answers/s":>10} {"p50 s":>8} {"p95 s":>8} {"questions of a batch":>22}')
    for name, found in waits.items():
        p50, p95 = np.percentile(found, [50, 95])
        print(f'{name:20} {len(found) / seconds[name]:10.1f} {p50:8.2f} {p95:8.2f} {means[name]:22.1f}')
    batched, alone = (len(waits[name]) / seconds[name] for name in sizes)
    print(f'batches answer {batched / alone:.2f} times as many; none lost, none mixed up')


def body(side: int, client: int, number: int) -> tuple[dict[str, object], tuple[int, int]]:
    """A request about a ball somewhere, and the (height, width) by which its answer is known."""
    height, width = side + client, side + number
    rng = np.random.default_rng((client, number))
    image = Image.new('RGB', (width, height), tuple(rng.integers(100, 256, 3).tolist()))
    x, y = rng.integers(0, side // 2, 2).tolist()
    ImageDraw.Draw(image).ellipse((x, y, x + side // 3, y + side // 3), fill=(210, 40, 40))
    file = io.BytesIO()
    image.save(file, 'PNG')
    return {'image': base64.b64encode(file.getvalue()).decode(), 'questions': [QUESTION]}, (height, width)


@contextmanager
def served(model: str, batch: int) -> Iterator[str]:
    """The address of a server that is ready."""
    import httpx

    command = [sys.executable, str(TOOL), model, '--port', '0', '--batch', str(batch), '--queue', '4096', '--time-limit', '600']
    with (
        tempfile.NamedTemporaryFile('w') as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=checkout_environment()) as process,
    ):
        try:
            address = None
            while address is None or httpx.get(f'{address}/health').status_code != 200:
                time.sleep(0.1)
                said = Path(log.name).read_text()
                if process.poll() is not None:
                    raise UserError(f'the server ended:\n{said}')
                found = re.search(r'running on (http://\S+)', said)
                address = found and found[1]
            yield address
        finally:
            process.terminate()


async def ask_all(address: str, bodies: list[list[tuple[dict[str, object], tuple[int, int]]]]) -> list[float]:
    """Seconds of each request, of clients that ask one after the other."""
    import httpx

    async def ask(client: httpx.AsyncClient, own: list[tuple[dict[str, object], tuple[int, int]]]) -> list[float]:
        waits = []
        for sent, size in own:
            begin = time.perf_counter()
            answer = await client.post('/v1/segment', json=sent)
            waits.append(time.perf_counter() - begin)
            found = answer.raise_for_status().json()['answers'][0]
            if (found['height'], found['width']) != size:
                raise AssertionError(f'the answer about {size} is about {found["height"], found["width"]}')
        return waits

    limits = httpx.Limits(max_connections=len(bodies))
    async with httpx.AsyncClient(base_url=address, timeout=600, limits=limits) as client:
        found = await asyncio.gather(*(ask(client, own) for own in bodies))
    return [wait for waits in found for wait in waits]


def mean_batch(address: str) -> float:
    """Questions of a batch so far."""
    import httpx

    text = httpx.get(f'{address}/metrics').text
    total, count = (float(text.split(f'lisa_batch_questions_{name} ')[1].split()[0]) for name in ('sum', 'count'))
    return total / count
