"""A codebook follows what is assigned to it: the moving averages by hand, dead codes, refusals."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import ArgumentError
from ppl_vae.nn import Codebook


def test_the_moving_averages_by_hand():
    book = Codebook(3, 2, decay=0.9, restart=0.0)
    share, total = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([[1.0, 0.0], [0.3, 0.3], [0.0, 0.4]])
    book.share.copy_(share)
    book.total.copy_(total)
    torch.testing.assert_close(book.table, total / share[:, None])
    h = torch.tensor([[[4.0, 1.0], [2.0, 1.0]], [[0.0, 6.0], [3.0, 3.0]]])  # (data, positions, dim)
    book.update(h, torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    # Code 0 takes three of four positions, code 1 one, code 2 none.
    expected_share = 0.9 * share + 0.1 * torch.tensor([0.75, 0.25, 0.0])
    expected_total = 0.9 * total + 0.1 * torch.tensor([[9.0, 5.0], [0.0, 6.0], [0.0, 0.0]]) / 4
    torch.testing.assert_close(book.share, expected_share)
    torch.testing.assert_close(book.total, expected_total)
    torch.testing.assert_close(book(torch.tensor([2.0]))[0], total[2] / share[2])  # nobody took it: it stays


def test_a_dead_code_becomes_one_of_the_batch():
    book = Codebook(4, 1, decay=0.9, restart=0.5)
    torch.manual_seed(0)
    h = torch.arange(20.0)[:, None]
    book.update(h, torch.zeros(20))  # the first batch: all are new but the one that is taken, with 0.1 of all
    assert bool((book.table == h.T).any(1)[1:].all())
    torch.testing.assert_close(book.share[1:], torch.full((3,), 0.25))
    for _ in range(6):  # 0.25 · 0.9⁶ = 0.133 is above 0.5 / 4, 0.9⁷ is below
        before = book.table[1:].clone()
        book.update(h, torch.zeros(20))
        torch.testing.assert_close(book.table[1:], before)
    book.update(h + 100, torch.zeros(20))
    assert bool((book.table[1:] >= 100).all())


def test_a_code_that_is_never_taken_and_never_replaced_stays_finite():
    book = Codebook(2, 1, decay=0.1, restart=0.0)
    first = book.table[1].clone()
    for _ in range(100):
        book.update(torch.ones(3, 1), torch.zeros(3))
    torch.testing.assert_close(book.table, torch.stack([torch.ones(1), first]))


def test_perplexity_counts_the_codes_in_use():
    book = Codebook(8, 1)
    assert float(book.perplexity(torch.zeros(5, 2))) == pytest.approx(1)
    assert float(book.perplexity(torch.arange(4.0).repeat(3))) == pytest.approx(4)


def test_what_cannot_be_meant_is_refused():
    for given, words in (
        ({"codes": 1}, "levels"),
        ({"decay": 1.0}, "decay=1.0"),
        ({"restart": -0.1}, "restart=-0.1"),
        ({"dim": 0}, "dim=0"),
    ):
        with pytest.raises((ArgumentError, pv.errors.PplVaeError), match=words):
            Codebook(**{"codes": 4, "dim": 2} | given)
