"""A trained tagging model as its user holds it: sentences in, labels out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor

from seq2seq.arguments import check_truth, check_whole
from seq2seq.errors import RunError, UsageError
from seq2seq.layers.evaluating import evaluating
from seq2seq.precision import Precision, check_precision, products
from seq2seq.saved import directory as saved
from seq2seq.saved.pretrained import Pretrained
from seq2seq.tasks.tagging.batches import Words, by_length, encode_words
from seq2seq.tasks.tagging.card import tagging_card
from seq2seq.tasks.tagging.committee import AnyModel, build_model
from seq2seq.tasks.tagging.config import TaggingConfig
from seq2seq.tasks.tagging.given_features import Beside, values_of
from seq2seq.tasks.tagging.model import Emissions, Field
from seq2seq.tasks.tagging.schemes import in_bio
from seq2seq.tasks.tagging.tagged import Labels, Tagged, make_tagged
from seq2seq.tasks.tagging.vocabulary import VOCABULARY_FILE, TaggingVocabulary
from seq2seq.text.splitting import Token, split_spaces, split_words

Text = str | Sequence[str]  # running text, or its words
Split = Literal["spaces", "words"]


class Tagger(Pretrained[AnyModel, TaggingConfig]):
    """A tagging model together with its vocabulary and configuration.

    tagger = Tagger.from_pretrained("runs/conll2003/model")
    tagger.tag("Phil Simmons took four .").labels["ner"]        # ['B-PER', 'I-PER', 'O', ...]
    """

    task = "tagging"
    files = (saved.CONFIG_FILE, saved.WEIGHTS_FILE, VOCABULARY_FILE, saved.CARD_FILE)

    def __init__(
        self,
        model: AnyModel,
        vocabulary: TaggingVocabulary,
        config: TaggingConfig,
        readme: str | None = None,
    ) -> None:
        self.model, self.vocabulary, self.config = model, vocabulary, config
        self.readme = readme

    @classmethod
    def _from_directory(cls, directory: Path) -> Tagger:
        values = saved.read_values(directory, cls.task, {"vocab_size": int}, cls.files)
        config = saved.run_config(values, directory, cls.task)
        for name in (VOCABULARY_FILE, saved.WEIGHTS_FILE):
            saved.require(directory, name, cls.files)
        vocabulary = TaggingVocabulary.load(directory)
        path, size = directory / VOCABULARY_FILE, len(vocabulary.words)
        saved.check_vocabulary(path, size, values["vocab_size"], "vocab_size")
        weights = directory / saved.WEIGHTS_FILE
        model = saved.build_to_fit(lambda: build_model(config.model, vocabulary), weights)
        saved.load_weights(model, weights)
        return cls(model.eval(), vocabulary, config, saved.read_card(directory))

    def _write_vocabulary(self, directory: Path) -> dict[str, Any]:
        self.vocabulary.save(directory)
        return {"vocab_size": len(self.vocabulary.words)}

    def _card(self, parameters: int, card: dict[str, Any] | None) -> str:
        return tagging_card(self.config, self.vocabulary, parameters, card)

    @overload
    def tag(  # type: ignore[overload-overlap]  # a text is a sequence of texts, too
        self,
        sentences: str,
        *,
        split: Split = ...,
        probabilities: bool = ...,
        batch_size: int = ...,
        precision: Precision = ...,
        features: Beside | None = ...,
    ) -> Tagged: ...

    @overload
    def tag(
        self,
        sentences: Sequence[Text],
        *,
        split: Split = ...,
        probabilities: bool = ...,
        batch_size: int = ...,
        precision: Precision = ...,
        features: Sequence[Beside] | None = ...,
    ) -> list[Tagged]: ...

    def tag(
        self,
        sentences: str | Sequence[Text],
        *,
        split: Split = "spaces",
        probabilities: bool = False,
        batch_size: int = 64,
        precision: Precision = "fp32",
        features: Beside | Sequence[Beside] | None = None,
    ) -> Tagged | list[Tagged]:
        """Label one sentence, a text, or each of a list of sentences, in the order given.

        A sentence is a text or a list of its words. A text is split at its spaces, or, with
        ``split="words"``, by the simple tokeniser (``seq2seq.text.splitting``); the results say
        where each word stands in it. A sentence without words has no labels.

        Spans are labelled in BIO, and never break it. ``probabilities`` asks for the marginal
        probability of each label, and of each span (the lowest of its labels). The labels of
        a sentence do not depend on those beside it; probabilities may differ in the last digits of
        float32. ``precision="bf16"`` multiplies in bfloat16.

        A model that reads more than words (``data.features``) needs ``features``: for one sentence
        ``{"pos": ["NNP", "VBZ"]}``, a value for each word; for a list of sentences a list of those.
        Values that training text lacks are read as unknown.

        Raises:
            UsageError: something that is no sentence; a setting out of range; features that the
                model needs and are not given, that it does not know, or of another number.
            RunError: the device is out of memory.
        """
        check_precision(precision)
        if split not in ("spaces", "words"):
            raise UsageError(f"split is {split!r}; expected 'spaces' or 'words'")
        check_whole("batch_size", batch_size, 1)
        check_truth(probabilities=probabilities)
        settings = (split, probabilities, batch_size, precision)
        if isinstance(sentences, str):
            one = None if features is None else [features]
            return self._tag([sentences], one, *settings)[0]
        many: object = sentences
        if not isinstance(many, Sequence) or isinstance(many, bytes):
            kind = type(many).__name__
            raise UsageError(f"sentences is {kind}; expected a text, or a list of sentences")
        return self._tag(sentences, features, *settings)

    def _tag(
        self,
        sentences: Sequence[Text],
        features: object,
        split: Split,
        probabilities: bool,
        batch_size: int,
        precision: Precision,
    ) -> list[Tagged]:
        texts = [_tokens(one, split, self.vocabulary.combining) for one in sentences]
        beside = values_of(features, self.vocabulary, [len(tokens) for _, tokens in texts])
        order = sorted((n for n, (_, t) in enumerate(texts) if t), key=lambda n: len(texts[n][1]))
        results: dict[int, Tagged] = {}
        spans = {column.name for column in self.vocabulary.columns if column.spans}
        device = next(self.model.parameters()).device
        with torch.inference_mode(), evaluating(self.model), products(device, precision):
            for places in by_length([len(texts[n][1]) for n in order], batch_size):
                batch = [order[place] for place in places]
                words = encode_words(
                    [[t.text for t in texts[n][1]] for n in batch],
                    self.vocabulary,
                    [beside[n] for n in batch] if beside else (),
                )
                try:
                    words = words.to(device)
                    labels, whole = self.label(words, self.model(words), probabilities)
                except torch.OutOfMemoryError:
                    raise RunError(
                        f"{device}: out of memory with {len(batch)} sentences of up to "
                        f"{words.places.shape[1]} words; use a smaller batch_size"
                    ) from None
                for row, number in enumerate(batch):
                    text, tokens = texts[number]
                    results[number] = make_tagged(text, tokens, labels[row], spans, whole[row])
        return [
            results[n] if n in results else self._without_words(text, spans, probabilities)
            for n, (text, _) in enumerate(texts)
        ]

    def _without_words(self, text: str, spans: set[str], probabilities: bool) -> Tagged:
        """What ``tag`` gives for a text without words."""
        empty = {
            column.name: Labels([], [] if probabilities else None)
            for column in self.vocabulary.columns
        }
        whole = None if self.vocabulary.sentence_labels is None else (None, None)
        return make_tagged(text, [], empty, spans, whole)

    def label(
        self, words: Words, emissions: Emissions, probabilities: bool = False
    ) -> tuple[list[dict[str, Labels]], list[tuple[str, float] | None]]:
        """From scores to the labels of each sentence, by column, and that of the whole with its
        probability."""
        check_truth(probabilities=probabilities)
        lengths = words.lengths.tolist()
        rows: list[dict[str, Labels]] = [{} for _ in lengths]
        heads: Iterable[Field] = self.model.heads
        for column, head, scores in zip(
            self.vocabulary.columns, heads, emissions.columns, strict=True
        ):
            best = head.decode(scores, words.lengths)  # (B, T)
            marginals: Tensor | None = None
            if probabilities:
                marginals = head.chain.marginals(scores, words.lengths)  # (B, T, K)
                marginals = marginals.gather(2, best.unsqueeze(2)).squeeze(2)  # (B, T)
            # valid sequences: each label has its own in BIO
            names = [in_bio(x) for x in column.labels] if column.spans else column.labels
            for row, ids in enumerate(best.tolist()):
                labels = [names[label] for label in ids[: lengths[row]]]
                found = None if marginals is None else marginals[row, : lengths[row]].tolist()
                rows[row][column.name] = Labels(labels, found)
        return rows, self._whole(emissions, len(rows))

    def _whole(self, emissions: Emissions, count: int) -> list[tuple[str, float] | None]:
        names = self.vocabulary.sentence_labels
        if emissions.sentence is None or names is None:
            return [None] * count
        values, labels = emissions.sentence.softmax(1).max(1)
        pairs = zip(labels.tolist(), values.tolist(), strict=True)
        return [(names[label], value) for label, value in pairs]


def _tokens(sentence: Text, split: Split, combining: bool) -> tuple[str, list[Token]]:
    """The text of a sentence and its words."""
    if isinstance(sentence, str):
        words = split_spaces(sentence) if split == "spaces" else split_words(sentence, combining)
        return sentence, words
    if not isinstance(sentence, Sequence) or not all(
        isinstance(word, str) and word for word in sentence
    ):
        raise UsageError(f"a sentence is {sentence!r:.60}; expected a text, or a list of words")
    tokens, at = [], 0
    for word in sentence:
        tokens.append(Token(word, at, at + len(word)))
        at += len(word) + 1
    return " ".join(sentence), tokens
