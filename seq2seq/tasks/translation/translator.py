"""A trained translation model as its user holds it: text in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, overload

from seq2seq.arguments import check_truth, check_whole, given_or, listed_texts
from seq2seq.decoding import Sampling
from seq2seq.decoding.drawing import check_sampling
from seq2seq.decoding.ensemble import members_of
from seq2seq.decoding.sampling import seed_of
from seq2seq.errors import UsageError
from seq2seq.precision import DecodingPrecision, check_precision
from seq2seq.saved.pretrained import Pretrained
from seq2seq.tasks.translation import saved_model, searching
from seq2seq.tasks.translation.card import translation_card
from seq2seq.tasks.translation.conditions import PhraseLists, encode_conditions
from seq2seq.tasks.translation.config import DecodingConfig, TranslationConfig
from seq2seq.tasks.translation.documents import by_sentences
from seq2seq.tasks.translation.ensemble import AnyModel, check_savable, ensemble_of, in_int8
from seq2seq.tasks.translation.mbr import by_expected_utility
from seq2seq.tasks.translation.scoring import check_pairs, score_pairs
from seq2seq.tasks.translation.search_settings import search_settings
from seq2seq.tasks.translation.searching import MAX_SOURCE_TOKENS, Machine
from seq2seq.tasks.translation.shortlist import NO_SHORTLIST, Shortlist, learn_from_texts
from seq2seq.tasks.translation.translations import EMPTY, Translation, all_translations, empty
from seq2seq.text.sentencepiece import Tokenizer

PRECISIONS = ("fp32", "bf16", "int8")

__all__ = ["MAX_SOURCE_TOKENS", "Translation", "Translator"]


class Translator(Pretrained[AnyModel, TranslationConfig]):
    """A translation model together with its tokenizers and configuration.

        translator = Translator.from_pretrained("runs/demo/model")
        translator.translate(["A dog runs."], beam_size=5)

    ``source_tokenizer`` and ``target_tokenizer`` are one object when the vocabulary is shared; its
    file is then tokenizer.model, else there are source.model and target.model.
    """

    task = "translation"
    files = saved_model.FILES

    def __init__(
        self,
        model: AnyModel,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        config: TranslationConfig,
        readme: str | None = None,
        shortlist: Shortlist | None = None,
    ) -> None:
        self.model = model
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.config = config
        self.readme = readme
        self.shortlist = shortlist
        self._narrow = False  # whether searches take the shortlist

    @classmethod
    def _from_directory(cls, directory: Path) -> Translator:
        return cls(*saved_model.read_model(directory, cls.task))

    @classmethod
    def ensemble(cls, translators: Sequence[Translator]) -> Translator:
        """One translator over several models: each step takes the mean of their probabilities.

            Translator.ensemble([Translator.from_pretrained(name) for name in ("A", "B", "C")])

        It translates as any other. Tokenizers, configuration and shortlist are those of the first,
        and all translate with that where the first does; it cannot be saved, only its members can.
        Raises UsageError for no translators, and for unlike vocabularies or devices."""
        translators = members_of(translators, cls)
        tokenizers = [(one.source_tokenizer, one.target_tokenizer) for one in translators]
        model = ensemble_of([one.model for one in translators], tokenizers)
        return translators[0]._with(model)

    def _with(self, model: AnyModel, readme: str | None = None) -> Translator:
        tokenizers = self.source_tokenizer, self.target_tokenizer
        other = Translator(model, *tokenizers, self.config, readme, self.shortlist)
        other._narrow = self._narrow
        return other

    def in_int8(self) -> Translator:
        """This translator with its products in int8, on a CPU; it holds no others: the memory
        of this one's is free once nobody holds it. Raises UsageError where there are none."""
        return self._with(in_int8(self.model))

    def learn_shortlist(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        words: int = 20,
        frequent: int = 100,
    ) -> None:
        """Find in texts and their translations, best those of training, which ``words`` each source
        word is most often translated by, and which are ``frequent``: ``shortlist``, saved with the
        model. Raises UsageError for unequal numbers of texts, and for none."""
        self.shortlist = learn_from_texts(
            sources, targets, self.source_tokenizer, self.target_tokenizer, words, frequent
        )

    def with_shortlist(self) -> Translator:
        """This translator with searches among the words of ``shortlist`` alone: faster, a little
        different, scores over those words. Raises UsageError where there is no shortlist."""
        if self.shortlist is None:
            raise UsageError(NO_SHORTLIST)
        other = self._with(self.model, self.readme)
        other._narrow = True
        return other

    @property
    def tokenizer_files(self) -> tuple[str, str]:
        """The names of the source's and the target's tokenizer in a saved model."""
        return saved_model.tokenizer_files(self.source_tokenizer, self.target_tokenizer)

    def write_tokenizers(self, directory: Path) -> None:
        saved_model.write_tokenizers(directory, self.source_tokenizer, self.target_tokenizer)

    def _write_vocabulary(self, directory: Path) -> dict[str, Any]:
        check_savable(self.model)
        if self.shortlist is not None:
            self.shortlist.save(directory)
        return saved_model.write_tokenizers(directory, self.source_tokenizer, self.target_tokenizer)

    def _card(self, parameters: int, card: dict[str, Any] | None) -> str:
        return translation_card(self.config, parameters, card)

    @overload  # a str is a sequence of str, too
    def translate(  # type: ignore[overload-overlap]
        self,
        texts: str,
        *,
        beam_size: int | None = ...,
        batch_size: int | None = ...,
        length_penalty: float | None = ...,
        decoding: DecodingConfig | None = ...,
        precision: DecodingPrecision = ...,
        prefixes: str | Sequence[str] | None = ...,
        require: PhraseLists | None = ...,
        forbid: PhraseLists | None = ...,
        copy_unknown: bool = ...,
    ) -> str: ...

    @overload
    def translate(
        self,
        texts: Sequence[str],
        *,
        beam_size: int | None = ...,
        batch_size: int | None = ...,
        length_penalty: float | None = ...,
        decoding: DecodingConfig | None = ...,
        precision: DecodingPrecision = ...,
        prefixes: str | Sequence[str] | None = ...,
        require: PhraseLists | None = ...,
        forbid: PhraseLists | None = ...,
        copy_unknown: bool = ...,
    ) -> list[str]: ...

    def translate(
        self,
        texts: str | Sequence[str],
        *,
        beam_size: int | None = None,
        batch_size: int | None = None,
        length_penalty: float | None = None,
        decoding: DecodingConfig | None = None,
        precision: DecodingPrecision = "fp32",
        prefixes: str | Sequence[str] | None = None,
        require: PhraseLists | None = None,
        forbid: PhraseLists | None = None,
        copy_unknown: bool = False,
    ) -> str | list[str]:
        """Translate each text into one line of text, in the order given: a list gives a list, one
        text gives one text.

        ``decoding`` holds all settings of the search, by default those of the model's
        configuration; the first three arguments override single ones. ``beam_size=1`` is greedy
        search. ``precision="bf16"`` multiplies in bfloat16: faster where the processor has
        instructions for it, and not exactly the same alone and in a batch. "int8", on a CPU with
        8-bit products, needs the least memory; ``in_int8`` converts once, not in each call.

        ``prefixes`` are what the translations begin with, one for each text or a str for all; ""
        gives the model its freedom. The model goes on from there, and may go on with the last
        word. A letter that the vocabulary lacks is spelt in bytes, or is an error where the
        tokenizer has no byte fallback.

        ``require`` are phrases that a translation must hold as whole words, ``forbid`` such as it
        must not: a list for all texts, or a list of lists, one for each (``text.phrases``).
        What could not be met in the length allowed is in ``Translation.missing``.

        ``copy_unknown`` writes, for a word that the target's vocabulary cannot spell, the source
        word that it attended to most (Luong et al. 2015b, section 3); without it the unknown word
        is left out. A tokenizer with byte fallback spells everything.

        An empty or blank text gives an empty line, whatever its prefix. NUL characters count
        as spaces. A text of more than ``MAX_SOURCE_TOKENS`` subwords is cut there, with a warning
        to the ``seq2seq`` logger (standard error unless configured otherwise).

        Raises:
            UsageError: ``texts`` is neither a str nor a list of str; a setting out of range.
            RunError: the device is out of memory; the model gives no numbers (NaN).
        """
        nbest = self.translate_nbest(
            [texts] if isinstance(texts, str) else texts,
            n_best=1,
            beam_size=beam_size,
            batch_size=batch_size,
            length_penalty=length_penalty,
            decoding=decoding,
            precision=precision,
            prefixes=prefixes,
            require=require,
            forbid=forbid,
            copy_unknown=copy_unknown,
        )
        found = [translations[0].text for translations in nbest]
        return found[0] if isinstance(texts, str) else found

    def translate_nbest(
        self,
        texts: Sequence[str],
        *,
        n_best: int | None = None,
        beam_size: int | None = None,
        batch_size: int | None = None,
        length_penalty: float | None = None,
        decoding: DecodingConfig | None = None,
        precision: DecodingPrecision = "fp32",
        attention: bool = False,
        first_line: int = 1,
        prefixes: str | Sequence[str] | None = None,
        require: PhraseLists | None = None,
        forbid: PhraseLists | None = None,
        copy_unknown: bool = False,
    ) -> list[list[Translation]]:
        """The ``n_best`` (default: ``beam_size``) best translations of each text, best first.

        A list holds at least one translation, and fewer than ``n_best`` where the search found
        no more; that of a blank text holds one, empty. ``attention`` asks for the attention
        weights. ``first_line`` is the number by which warnings call the first text. All else is
        as in ``translate``.
        """
        texts = listed_texts("texts", texts, first=check_whole("first_line", first_line))
        decoding = given_or("decoding", decoding, self.config.decoding)
        settings = search_settings(decoding, beam_size, batch_size, length_penalty)
        n_best = settings.beam_size if n_best is None else check_whole("n_best", n_best)
        if not 1 <= n_best <= settings.beam_size:
            raise UsageError(f"n_best is {n_best}; expected 1 to {settings.beam_size} (beam_size)")
        check_precision(precision, PRECISIONS)
        check_truth(attention=attention, copy_unknown=copy_unknown)
        sources = searching.encode_sources(texts, self.source_tokenizer, first_line)
        conditions = encode_conditions(
            len(texts), self.target_tokenizer, first_line, prefixes, require, forbid
        )
        attends = attention or copy_unknown
        with self._machine(precision) as machine:
            found = searching.search_all(
                machine, sources, conditions, settings, n_best, attends, first_line
            )
            return all_translations(
                sources,
                found,
                self.source_tokenizer,
                self.target_tokenizer,
                [[empty(conditions.required(i))] for i in range(len(texts))],
                copy_from=texts if copy_unknown else None,
                keep_attention=attention,
            )

    def sample(
        self,
        texts: Sequence[str],
        *,
        samples: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        decoding: DecodingConfig | None = None,
        precision: DecodingPrecision = "fp32",
        first_line: int = 1,
    ) -> list[list[Translation]]:
        """``samples`` translations of each text, drawn from the model, in the order drawn.

        Temperature, top_k, top_p and min_p are as in text generation (``decoding.sampling``); of
        ``decoding``, batch size, maximum lengths and ``no_repeat_ngram`` count. The same text,
        settings and ``seed`` give the same samples, alone and among others, but where rounding,
        which depends on the batch, decides: about one word in ten thousand. Without a seed each
        call gives others. ``score`` is ``log_probability``, under the model as it is. There is no
        attention. All else is as in ``translate_nbest``."""
        decoding = given_or("decoding", decoding, self.config.decoding)
        settings = search_settings(decoding, None, None, None)
        sampling = Sampling(
            temperature, top_k, top_p, min_p, no_repeat_ngram=settings.no_repeat_ngram
        )
        check_sampling(samples, sampling, settings.min_length)
        check_precision(precision, PRECISIONS)
        texts = listed_texts("texts", texts, first=check_whole("first_line", first_line))
        seed = seed_of(seed)
        sources = searching.encode_sources(texts, self.source_tokenizer, first_line)
        with self._machine(precision) as machine:
            found = searching.sample_all(machine, sources, settings, samples, sampling, seed)
            blank = [[EMPTY] * samples for _ in texts]
            source, target = self.source_tokenizer, self.target_tokenizer
            return all_translations(sources, found, source, target, blank)

    def minimum_bayes_risk(
        self,
        texts: Sequence[str],
        *,
        samples: int = 32,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        decoding: DecodingConfig | None = None,
        precision: DecodingPrecision = "fp32",
        first_line: int = 1,
    ) -> list[list[Translation]]:
        """Draws ``samples`` translations of each text as ``sample`` does. Returns the different
        ones, sorted by their expected chrF against all, best first (Eikema & Aziz 2020). ``score``
        is that chrF, 0 to 100. ``mbr.by_expected_utility`` does the same with an n-best list."""
        drawn = self.sample(
            texts,
            samples=samples,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
            decoding=decoding,
            precision=precision,
            first_line=first_line,
        )
        return [by_expected_utility(one) for one in drawn]

    def score(
        self,
        texts: Sequence[str],
        translations: Sequence[str],
        *,
        batch_size: int | None = None,
        precision: DecodingPrecision = "fp32",
        attention: bool = False,
        first_line: int = 1,
    ) -> list[Translation]:
        """Given ``translations``, one for each text, with the log probabilities that the model
        gives them, over all words whatever the shortlist; ``score`` is ``log_probability``. A
        blank text has the empty translation, with log probability 0, and no other: -inf. Their
        subwords are the tokenizer's, a search may spell a text with others. All else is as in
        ``translate_nbest``."""
        texts = listed_texts("texts", texts, first=check_whole("first_line", first_line))
        translations = listed_texts("translations", translations, "translation", first_line)
        check_pairs(texts, translations)
        settings = search_settings(self.config.decoding, None, batch_size, None)
        check_precision(precision, PRECISIONS)
        check_truth(attention=attention)
        source, size = self.source_tokenizer, settings.batch_size
        sources = searching.encode_sources(texts, source, first_line, done="scored")
        with self._machine(precision, narrow=False) as machine:
            return score_pairs(machine, source, sources, translations, size, attention)

    def translate_documents(
        self,
        documents: Sequence[str],
        *,
        decoding: DecodingConfig | None = None,
        precision: DecodingPrecision = "fp32",
        copy_unknown: bool = False,
    ) -> list[str]:
        """Texts of any length, translated sentence by sentence; line breaks, blank lines and the
        spaces at both ends of a line stay. The languages are those of the configuration's 'data'.
        Raises UsageError where the extra 'sentences' is not installed."""

        def translate(sentences: list[str]) -> list[str]:
            return self.translate(
                sentences, decoding=decoding, precision=precision, copy_unknown=copy_unknown
            )

        data, texts = self.config.data, listed_texts("documents", documents, "document")
        return by_sentences(texts, translate, data.source, data.target)

    def _machine(
        self, precision: DecodingPrecision, narrow: bool = True
    ) -> AbstractContextManager[Machine]:
        shortlist = self.shortlist if narrow and self._narrow else None
        pad, target = self.source_tokenizer.pad, self.target_tokenizer
        return searching.prepared_machine(self.model, target, pad, precision, shortlist)
