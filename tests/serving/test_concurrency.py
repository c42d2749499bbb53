"""Many clients at once: each gets the answer about its own image."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lisa_mm.datasets.run_lengths import decode_rle

from .running_server import base64_of, data_uri, events, picture, served, user

OPTIONS = (
    {'no_text': True},
    {'force_seg': True, 'max_new_tokens': 5},
    {'force_seg': True, 'max_new_tokens': 8, 'temperature': 0.7},
)


class Client:
    """Asks about images that no other client has.

    Args:
        number: Its number.
        server: The server.
        inferencer: What the answers are compared with.
        requests: How often it asks.
    """

    def __init__(self, number, server, inferencer, requests):
        self.server = server
        self.wanted = []
        for n in range(requests):
            pixels = picture(1000 * number + n, 40 + number, 50 + n)  # the size tells images apart, too
            how = {**OPTIONS[(number + n) % 3], **({'seed': number} if (number + n) % 3 == 2 else {})}
            self.wanted.append((pixels, how, inferencer(pixels, f'the cup {number}', **how)))
        self.question = f'the cup {number}'

    def run(self):
        """The faults of all answers."""
        faults = []
        with self.server.client() as client:
            for pixels, how, wanted in self.wanted:
                body = {'image': base64_of(pixels), 'questions': [self.question], 'options': how}
                found = client.post('/v1/segment', json=body)
                if found.status_code != 200:
                    faults.append(found.text)
                    continue
                [answer] = found.json()['answers']
                masks = np.array([decode_rle(mask['rle']) for mask in answer['masks']])
                is_own = (answer['question'], answer['text'], masks.shape) == (self.question, wanted.text, wanted.masks.shape)
                # a logit at 0 may change its sign with the rows beside it
                if not is_own or (masks != wanted.masks).mean() > 1e-3:
                    faults.append(f'{answer["text"]!r}, {masks.shape}; wanted {wanted.text!r}, {wanted.masks.shape}')
        return faults


@pytest.mark.parametrize(('clients', 'requests'), [(16, 3), pytest.param(64, 10, marks=pytest.mark.slow)])
def test_no_answer_is_lost_or_anothers(inferencer, clients, requests):
    with served(inferencer, wait=0.02) as server, ThreadPoolExecutor(clients) as pool:
        asking = [Client(number, server, inferencer, requests) for number in range(clients)]
        # a mixed-up answer would be seen
        assert len({wanted.masks.shape for one in asking for *_, wanted in one.wanted}) == clients * requests
        assert all(0.1 < wanted.masks.mean() < 0.9 for one in asking for *_, wanted in one.wanted)
        faults = [fault for found in pool.map(Client.run, asking) for fault in found]
        assert faults == []
        with server.client() as client:
            text = client.get('/metrics').text
        assert f'lisa_requests_total{{path="/v1/segment",status="200"}} {clients * requests}.0' in text
        batches = float(text.split('lisa_batch_questions_count ')[1].split()[0])
        assert batches < 0.7 * clients * requests  # they were answered together
    assert server.service.places.taken == 0


def test_streams_and_others_share_batches(inferencer):
    def stream(number):
        pixels = picture(number, 40 + number, 50)
        body = {'model': 'tiny', 'messages': [user('the cup', data_uri(pixels))], 'stream': True, 'max_tokens': 8}
        with server.client() as client:
            text = client.post('/v1/chat/completions', json=body).text
        assert text.endswith('data: [DONE]\n\n')
        said = ''.join(chunk['choices'][0]['delta'].get('content', '') for chunk in events(text)[:-1])
        return said, inferencer(pixels, 'the cup', max_new_tokens=8).text

    def ask(number):
        pixels = picture(number, 40 + number, 50)
        found = server.ask({'image': base64_of(pixels), 'questions': ['the cup'], 'options': {'max_new_tokens': 8}}).json()
        return found['answers'][0]['text'], inferencer(pixels, 'the cup', max_new_tokens=8).text

    with served(inferencer, wait=3600, batch_size=8) as server, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: (stream if number % 2 else ask)(number), range(8)))
        with server.client() as client:
            assert 'lisa_batch_questions_count 1.0' in client.get('/metrics').text
    assert len({wanted for _, wanted in found}) > 4
    assert all(said == wanted for said, wanted in found)
