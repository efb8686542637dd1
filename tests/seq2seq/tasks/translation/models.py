"""A small translation model for tests."""

from __future__ import annotations

import torch

from seq2seq import Translator
from seq2seq.config import config_from_dict
from seq2seq.tasks.translation.model import TranslationModel
from seq2seq.text.sentencepiece import Tokenizer

ENGLISH = ["a dog runs home", "the cat sleeps on the mat", "two birds sing in a tree"]
GERMAN = ["ein hund rennt heim", "die katze schläft auf der matte", "zwei vögel singen im baum"]
TEXTS = ["a dog sings", "", "the cat runs home in a tree", "birds", " \t ", "two cats on the mat"]


def make_translator(tied="target", shared=True, attention="additive", cell="lstm"):
    """Random weights: the text is nonsense, but it depends on every part."""
    values = {
        "seed": 3,
        "data": {"train": "train.{lang}", "test": "test.{lang}"},
        "tokenizer": {
            "vocab_size": 60 if shared else 40,
            "kind": "bpe",
            "shared": shared,
            "byte_fallback": False,
        },
        "model": {
            "encoder": {"layers": 1, "hidden_size": 32, "cell": cell},
            "decoder": {"hidden_size": 64, "cell": cell, "attention": attention},
            "embedding_size": 32,
            "tied_embeddings": tied,
            "init_range": 0.2,
            "dropout": 0.0,
        },
        "decoding": {"max_length_ratio": 1.0, "max_length_extra": 6, "beam_size": 3},
    }
    config = config_from_dict(values)
    sides = [ENGLISH + GERMAN] if shared else [ENGLISH, GERMAN]
    tokenizers = [Tokenizer.train(side * 3, config.tokenizer) for side in sides]
    source, target = tokenizers[0], tokenizers[-1]
    torch.manual_seed(0)
    model = TranslationModel(config.model, len(source), len(target))
    return Translator(model, source, target, config)


def learn(translator):
    """Learn the three pairs by heart."""
    source = [translator.source_tokenizer.encode(text) for text in ENGLISH]
    target = [translator.target_tokenizer.encode(text) for text in GERMAN]
    lengths = torch.tensor([len(ids) for ids in source])  # (B,)
    tokens = [torch.tensor(ids) for ids in source]
    tokens = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)  # (B, S)
    before = [torch.tensor([2, *ids]) for ids in target]
    before = torch.nn.utils.rnn.pad_sequence(before, batch_first=True)  # (B, T)
    after = [torch.tensor([*ids, 3]) for ids in target]
    after = torch.nn.utils.rnn.pad_sequence(after, batch_first=True)  # (B, T)
    model = translator.model
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        logits = model.projection(model(tokens, lengths, before))  # (B, T, V)
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), after, ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    return translator
