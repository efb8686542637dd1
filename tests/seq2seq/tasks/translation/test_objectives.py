"""The objectives of translation."""

from __future__ import annotations

import torch

from seq2seq.tasks.translation.objectives import CrossEntropy, RDrop


def test_rdrop_is_cross_entropy_plus_divergence():
    model, arguments = _objective_arguments()
    torch.manual_seed(3)
    found = RDrop(model, 0.1, weight=4.0)(*arguments)
    torch.manual_seed(3)
    twice = [torch.cat([t, t]) for t in arguments]
    logits = model.projection(model(*twice[:3]))
    kept = twice[3] != -100
    log_p = torch.log_softmax(logits, -1)
    cross = -(0.9 * log_p.gather(2, twice[3].clamp(min=0).unsqueeze(2)).squeeze(2)[kept]).sum()
    cross = cross - (0.1 / 13 * log_p.sum(2)[kept]).sum()
    p, q = log_p[:3][kept[:3]], log_p[3:][kept[3:]]
    divergence = (p.exp() * (p - q)).sum() + (q.exp() * (q - p)).sum()
    # the divergence is taken in fp32
    torch.testing.assert_close(found, cross / 2 + divergence, rtol=1e-5, atol=1e-5)


def test_rdrop_without_dropout_is_cross_entropy():
    model, arguments = _objective_arguments()
    a = RDrop(model, 0.1, 5.0).eval()(*arguments)
    b = CrossEntropy(model, 0.1).eval()(*arguments)
    torch.testing.assert_close(a, b)


def _objective_arguments():
    from tests.seq2seq.tasks.translation.test_model import batch, make

    model = make(dropout=0.3)
    source, lengths, target = batch()
    output = torch.roll(target, -1, 1)
    output[1, 2:] = -100
    return model, (source, lengths, target, output)
