"""A committee: it labels by the mean of its members' scores, who learn each by their own loss."""

from __future__ import annotations

import itertools

import pytest
import torch

from seq2seq import Tagger, UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.tagging.batches import encode_words
from seq2seq.tasks.tagging.committee import Committee, members_of
from seq2seq.tasks.tagging.objectives import TaggingLoss
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume
from tests.seq2seq.tasks.tagging.conftest import settings, write

SENTENCES = ["we met Ann Bo in Rome ?", "we saw Cy .", "we met Zoe in Paris ."]


@pytest.fixture(scope="module")
def committee(tmp_path_factory) -> Tagger:
    folder = tmp_path_factory.mktemp("committee")
    write(folder / "train.txt", 120, 1)
    write(folder / "validation.txt", 30, 2)
    values = settings(folder, model__members=3, training__max_epochs=3)
    threads = torch.get_num_threads()
    path = train(config_from_dict(values), quiet=True)
    torch.set_num_threads(threads)
    return Tagger.from_pretrained(path)


def batch(tagger, sentence=SENTENCES[0]):
    return encode_words([sentence.split()], tagger.vocabulary)


def score(model, words, number, labels):
    """s(labels) of a column by its emissions and transitions, added up one by one."""
    emissions, chain = model(words).columns[number][0], list(model.heads)[number].chain
    total = chain.start[labels[0]] + chain.end[labels[-1]]
    total = total + sum(emissions[step, label] for step, label in enumerate(labels))
    return total + sum(chain.transitions[a, b] for a, b in itertools.pairwise(labels))


def truth(committee):
    """Labels of the words in each column, and of the sentence."""
    columns = committee.vocabulary.columns
    labels = tuple(torch.tensor([[2] + [0] * 6]) % len(column.labels) for column in columns)
    return labels, torch.tensor([1])


def test_a_sequence_has_the_mean_of_the_members_scores(committee):
    words = batch(committee)
    assert isinstance(committee.model, Committee)
    members = members_of(committee.model)
    torch.manual_seed(0)
    with torch.no_grad():
        for number, column in enumerate(committee.vocabulary.columns):
            labels = torch.randint(len(column.labels), (7,)).tolist()
            each = [score(member, words, number, labels) for member in members]
            whole = score(committee.model, words, number, labels)
            assert len({round(float(one), 3) for one in each}) == 3
            torch.testing.assert_close(whole, torch.stack(each).mean())
        sentence = [member(words).sentence.softmax(1) for member in members]
        torch.testing.assert_close(
            committee.model(words).sentence.exp(), torch.stack(sentence).mean(0)
        )


def test_each_member_learns_by_its_own_loss(committee):
    words, members = batch(committee), members_of(committee.model)
    given = truth(committee)
    committee.model.zero_grad()
    loss, parts = TaggingLoss(committee.model, 0.5)(words, *given)
    loss.backward()
    found = [member.heads[0].linear.weight.grad.clone() for member in members]
    losses, sentences = [], []
    for member, gradient in zip(members, found, strict=True):
        member.zero_grad()
        one, part = TaggingLoss(member, 0.5)(words, *given)
        one.backward()
        losses.append(one.detach())
        sentences.append(part["sentence"])
        torch.testing.assert_close(gradient * 3, member.heads[0].linear.weight.grad)
    torch.testing.assert_close(loss.detach(), torch.stack(losses).mean())
    torch.testing.assert_close(parts["sentence"], torch.stack(sentences).mean())


def test_sentences_that_are_moved_are_harder(committee):
    """The loss is the mean of both, and each member is moved by its own gradient."""
    words, members = batch(committee), members_of(committee.model)
    given = truth(committee)
    committee.model.train()
    for member in members:
        member.dropout = 0.0
    plain, parts = TaggingLoss(committee.model, 0.5)(words, *given)
    objective = TaggingLoss(committee.model, 0.5, adversarial=0.05)
    moved, moved_parts = objective(words, *given)
    assert moved > plain
    torch.testing.assert_close(moved_parts["sentence"], parts["sentence"])
    each = [TaggingLoss(member, 0.5, 0.05)(words, *given)[0] for member in members]
    torch.testing.assert_close(moved, torch.stack(each).mean())
    committee.model.zero_grad()
    moved.backward()
    assert all(member.heads[0].linear.weight.grad.abs().sum() > 0 for member in members)
    objective.eval()
    torch.testing.assert_close(objective(words, *given)[0], plain)


def test_it_labels_as_one_model_alone_and_in_a_batch(committee, tmp_path):
    together = committee.tag(SENTENCES, probabilities=True)
    assert together[0].labels["ner"] == ["O", "O", "B-PER", "I-PER", "O", "B-LOC", "O"]
    for sentence, found in zip(SENTENCES, together, strict=True):
        assert committee.tag(sentence).labels == found.labels
    committee.save_pretrained(tmp_path / "model")
    again = Tagger.from_pretrained(tmp_path / "model")
    assert again.tag(SENTENCES, probabilities=True) == together


def test_its_best_sequence_is_the_best_of_all(committee):
    words = batch(committee, "we saw Cy .")
    with torch.no_grad():
        emissions = committee.model(words)
        for number, column in enumerate(committee.vocabulary.columns):
            head = committee.model.heads[number]
            every = itertools.product(range(len(column.labels)), repeat=4)
            allowed = [y for y in every if _allowed(head.chain, y)]
            best = max(allowed, key=lambda y: float(score(committee.model, words, number, y)))
            found = head.decode(emissions.columns[number], words.lengths)
            assert found[0].tolist() == list(best)


def _allowed(chain, labels) -> bool:
    inner = all(bool(chain.allowed[a, b]) for a, b in itertools.pairwise(labels))
    ends = bool(chain.allowed_start[labels[0]]) and bool(chain.allowed_end[labels[-1]])
    return inner and ends


def test_it_resumes_and_tunes_its_spans(folder, tmp_path):
    changes = {"model__members": 2, "training__max_epochs": 2, "training__tune_spans": True}
    whole = settings(folder, **changes)
    train(config_from_dict(whole), quiet=True)
    stopped = {**whole, "output": str(tmp_path / "stopped")}
    kill_and_resume(stopped, tmp_path)
    assert_same_run(tmp_path / "stopped", folder / "run")


def test_too_many_members_and_other_numbers(folder, committee, tmp_path):
    for members, message in ((0, "expected a number above 0"), (101, "expected at most 100")):
        with pytest.raises(UsageError, match=f"'model.members' is {members}; {message}"):
            config_from_dict(settings(folder, model__members=members))
    committee.save_pretrained(tmp_path / "three")
    values = settings(folder, model__members=2, training__start_from=str(tmp_path / "three"))
    with pytest.raises(UsageError, match=r"has 3 members, and 'model.members' is 2"):
        train(config_from_dict(values), quiet=True)
