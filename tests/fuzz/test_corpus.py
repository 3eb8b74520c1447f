"""What the fuzzer has found worth keeping, replayed: inputs that reach something the others do not, a line each."""

import random
from pathlib import Path

import pytest

from tests.fuzz.conversation import converse

CORPUS = (Path(__file__).parent / "corpus.hex").read_text().split()


def test_the_corpus_breaks_nothing():
    assert len(CORPUS) >= 100
    for number, line in enumerate(CORPUS, start=1):
        try:
            converse(bytes.fromhex(line))
        except BaseException as error:
            raise AssertionError(f"line {number} of corpus.hex breaks it") from error


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_break_nothing(seed):
    rnd = random.Random(seed)
    for _ in range(50):
        converse(rnd.randbytes(rnd.randrange(400)))
