import torch
from sklearn.datasets import load_digits

from ppl_vae.datasets import digits


def test_are_scikit_learns():
    data = digits(binarization="none", scaling="none")
    images = torch.from_numpy(load_digits().images).long()
    labels = torch.from_numpy(load_digits().target)
    for split in data.splits.values():
        torch.testing.assert_close(split.batch()[0][:, 0], images[split.indices])
        assert torch.equal(split.labels, labels[split.indices])
    assert sum(len(split) for split in data.splits.values()) == 1797
    assert data.spec.levels == 17


def test_the_seed_chooses_the_split():
    assert torch.equal(digits().test.indices, digits(seed=0).test.indices)
    assert not torch.equal(digits().test.indices, digits(seed=1).test.indices)
    assert torch.equal(digits(binarization="static").test.indices, digits().test.indices)
