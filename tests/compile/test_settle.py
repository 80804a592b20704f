"""A graph for a GPU holds nothing that the CPU would wait for, and gives the same bits."""

import torch

from ppl_vae.compile.capture import record, settle


def test_what_depends_on_no_input_is_computed_once():
    """Constants made on the CPU, and the look at scales in `torch.normal`, are what a GPU would be waited for."""

    def step(x):
        changed = torch.full((3, 3), -1.0)
        changed.fill_diagonal_(2.0)
        half = torch.tensor(0.5, dtype=torch.float64).to(x)
        by_input = torch.zeros(3)
        by_input += x.sum()
        through_a_view = torch.zeros(2, 3)
        through_a_view[0] += x.sum()
        draw = torch.normal(x, x.abs() + 0.1)
        kept = torch.where(x > 0, x, torch.tensor(-1.0))
        first = (changed @ x).sum() * half + torch.log(torch.tensor(3.0))
        return [first + by_input.sum() + through_a_view.sum() + (draw * kept).sum()]

    x = torch.randn(3, 3)
    graph = record(step, [x])
    settle(graph, torch.device("cpu"))
    left = {str(node.target) for node in graph.graph.nodes}
    assert not left & {"aten.normal.Tensor_Tensor", "aten.lift_fresh_copy.default", "aten.fill_diagonal_.default"}
    for seed in range(3):
        other = torch.randn(3, 3)
        torch.manual_seed(seed)
        expected = step(other)
        torch.manual_seed(seed)
        assert torch.equal(graph(other)[0], expected[0])


def test_a_tensor_that_the_program_only_reads_stays_what_it_is():
    """It may be changed between two steps."""
    read = torch.tensor(2.0)
    graph = record(lambda x: [(x * read).sum()], [torch.ones(3)])
    settle(graph, torch.device("cpu"))
    read.fill_(5.0)
    assert float(graph(torch.ones(3))[0]) == 15.0
