"""A sealed text is refused wherever one bit of it is flipped, or gives the same."""

import json

import pytest

from ppl_vae.errors import DamagedError
from ppl_vae.files import seal

RECORD = {"status": "finished", "seed": 0, "result": {"loss": None, "nll": 1.5}, "error": "0" * 64 + "z"}
TEXTS = {
    "json": (seal.sealed_json(RECORD), seal.unsealed_json, RECORD),
    "indented": (seal.sealed_json(RECORD, indent=2), seal.unsealed_json, RECORD),
    "yaml": (seal.sealed_text("a: 1\nb: [2, 3]\n"), seal.unsealed_text, "a: 1\nb: [2, 3]\n"),
    "yaml without an end": (seal.sealed_text("a: 1"), seal.unsealed_text, "a: 1"),
}


@pytest.mark.parametrize(("text", "unseal", "value"), TEXTS.values(), ids=TEXTS)
def test_every_flipped_bit_is_told(text, unseal, value):
    content = text.encode()
    assert unseal(content, "f") == value
    for at in range(len(content)):
        for bit in range(8):
            with pytest.raises(DamagedError, match="Got f "):
                unseal(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :], "f")


@pytest.mark.parametrize(("text", "unseal", "value"), TEXTS.values(), ids=TEXTS)
def test_every_cut_is_told(text, unseal, value):
    """A text of which a part of the first line is left is nothing but a comment: no config is."""
    content = text.encode()
    for end in range(40 if unseal is seal.unsealed_text else 0, len(content)):
        with pytest.raises(DamagedError, match="Got f "):
            unseal(content[:end], "f")


def test_what_was_never_sealed_is_read():
    assert seal.unsealed_json(json.dumps(RECORD).encode(), "f") == RECORD
    assert seal.unsealed_json(b"[1]", "f") == [1]
    assert seal.unsealed_text(b"a: 1", "f") == "a: 1"


def test_sealing_again_gives_the_same():
    text = seal.sealed_json(RECORD)
    assert seal.sealed_json({**json.loads(text)}) == text


def test_depth_is_an_error_of_ours():
    with pytest.raises(DamagedError):
        seal.unsealed_json(b"[" * 10**5, "f")
