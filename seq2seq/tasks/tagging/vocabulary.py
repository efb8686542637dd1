"""What turns words into numbers and numbers into labels: words, characters, shapes, labels."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from seq2seq.errors import RunError
from seq2seq.json_files import read_json
from seq2seq.tasks.tagging.config import TaggingConfig, feature_sources, label_sources
from seq2seq.tasks.tagging.schemes import Scheme, are_spans, labels_of, types_of
from seq2seq.tasks.tagging.sentences import Sentence
from seq2seq.text.splitting import ends_of
from seq2seq.text.vectors import WordVectors

VOCABULARY_FILE = "vocabulary.json"
UNKNOWN = 0  # the id of unknown words, characters and values of features
UNKNOWN_WORD = "<unk>"
_REMEMBERED = 200_000  # words

# What is known of a word beside its letters (Collobert et al. 2011, section 4.4.1, and more)
SHAPES = (
    *("lower", "Capital", "CAPITALS", "miXed", "C.", "digits", "digits with marks"),
    *("letters with digits", "mark", "#tag", "@name", "address", "other"),
)


@dataclass(frozen=True)
class Column:
    """A label of each word: its name, the labels as they are learnt, whether they write spans."""

    name: str
    labels: list[str]
    spans: bool


@dataclass(frozen=True)
class Feature:
    """What the model reads beside the words: its name, and the values that training text has."""

    name: str
    values: list[str]


@dataclass
class TaggingVocabulary:
    """Ids of words, their characters, shapes and features, and the labels of each column.

    Words 1 to ``trained`` are those of the training text, the others have a vector in a file alone.
    """

    words: list[str]
    trained: int
    characters: str
    columns: list[Column]
    sentence_labels: list[str] | None
    lowercase: bool
    longest: int  # characters of a word that are read
    features: list[Feature] = field(default_factory=list)
    combining: bool = False  # running text is split as ``split_words`` does so; not so in old files
    _ids: dict[str, int] = field(init=False, repr=False)
    _letters: dict[str, int] = field(init=False, repr=False)
    _seen: dict[str, tuple[int, int, list[int]]] = field(init=False, repr=False, compare=False)
    _values: list[dict[str, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._ids = {word: n for n, word in enumerate(self.words, start=1)}
        self._letters = {letter: n for n, letter in enumerate(self.characters, start=1)}
        self._seen = {}
        self._values = [{x: n for n, x in enumerate(f.values, start=1)} for f in self.features]

    def feature_ids(self, number: int, values: Sequence[str]) -> list[int]:
        """Ids of values of the feature of that number; those that training text lacks are
        unknown."""
        known = self._values[number]
        return [known.get(value, UNKNOWN) for value in values]

    def parts(self, word: str) -> tuple[int, int, list[int]]:
        """Id, shape and characters of a word; those of words seen before are remembered."""
        found = self._seen.get(word)
        if found is None:
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            found = self.word_id(word), shape_of(word), self.character_ids(word)
            self._seen[word] = found
        return found

    def word_id(self, word: str) -> int:
        """The id of the first form of a word that is known."""
        return next((self._ids[k] for k in keys(word, self.lowercase) if k in self._ids), UNKNOWN)

    def character_ids(self, word: str) -> list[int]:
        """Ids of its characters; of a long word of its ends (``ends_of``)."""
        return [self._letters.get(letter, UNKNOWN) for letter in ends_of(word, self.longest)]

    def save(self, directory: Path) -> None:
        """Write vocabulary.json."""
        values: dict[str, object] = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        values["columns"] = [asdict(column) for column in self.columns]
        values["features"] = [asdict(feature) for feature in self.features]
        if not self.features:
            del values["features"]  # the file is then as it was before there were features
        path = directory / VOCABULARY_FILE
        try:
            directory.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_text(json.dumps(values, indent=0), encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise RunError(f"{path}: cannot be written ({error.strerror})") from None

    @classmethod
    def load(cls, directory: Path) -> TaggingVocabulary:
        """Read what ``save`` wrote; RunError for a missing or damaged file."""
        path = directory / VOCABULARY_FILE
        try:
            values = read_json(path)
            columns = [Column(**column) for column in values.pop("columns")]
            features = [Feature(**feature) for feature in values.pop("features", [])]
            return cls(columns=columns, features=features, **values)
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path}: damaged ({error}); copy the file again") from None


def build_vocabulary(
    sentences: Sequence[Sentence], config: TaggingConfig, vectors: WordVectors | None
) -> TaggingVocabulary:
    """The vocabulary of the training sentences, and of a file of vectors."""
    model = config.model
    filed = set(vectors.words) if vectors else set()
    counts = word_counts(sentences, model.lowercase, filed)
    kept = [(word, n) for word, n in counts.items() if n >= model.min_count or word in filed]
    kept.sort(key=lambda pair: (-pair[1], pair[0]))
    trained = [word for word, _ in kept]
    known = set(trained)
    others = [word for word in vectors.words if word not in known] if vectors else []
    names = label_sources(config.data)
    columns = [
        make_column(name, (x for one in sentences for x in one.labels[n]), model.scheme)
        for n, name in enumerate(names)
    ]
    features = [
        Feature(name, sorted({x for one in sentences for x in one.features[n]}))
        for n, name in enumerate(feature_sources(config.data))
    ]
    whole = None
    if config.data.sentence_label is not None:
        whole = sorted({str(one.sentence_label) for one in sentences})
    return TaggingVocabulary(
        words=[*trained, *others[: model.kept_words]],
        trained=len(trained),
        characters="".join(sorted({c for one in sentences for word in one.words for c in word})),
        columns=columns,
        sentence_labels=whole,
        lowercase=model.lowercase,
        longest=model.characters.longest,
        features=features,
        combining=True,
    )


def make_column(name: str, labels: Iterable[str], scheme: Scheme) -> Column:
    """A column with these labels of words, in BIO where they write spans."""
    found = sorted(set(labels))
    spans = are_spans(found)
    return Column(name, labels_of(types_of(found), scheme) if spans else found, spans)


def word_counts(sentences: Iterable[Sentence], lowercase: bool, filed: set[str]) -> Counter[str]:
    """How often each word stands there: a word that has a vector in the file under a form of its
    own, else under its plainest form."""
    counts: Counter[str] = Counter()
    for word, number in Counter(word for one in sentences for word in one.words).items():
        forms = list(keys(word, lowercase))
        counts[next((form for form in forms if form in filed), forms[-1])] += number
    return counts


def keys(word: str, lowercase: bool) -> Iterator[str]:
    """The forms under which a word is looked up, in order."""
    yield word
    if lowercase:
        lower = word.lower()
        yield lower
        yield _DIGIT.sub("0", lower)


def shape_of(word: str) -> int:
    """Which of SHAPES a word has."""
    return SHAPES.index(_shape(word))


_DIGIT = re.compile(r"\d")
_ADDRESS = re.compile(r"(?i)(https?://|www\.).+|.+@.+\..+")


def _shape(word: str) -> str:
    if len(word) > 1 and word[0] in "#@":
        return "#tag" if word[0] == "#" else "@name"
    if _ADDRESS.fullmatch(word):
        return "address"
    letters, digits = any(map(str.isalpha, word)), bool(_DIGIT.search(word))
    if digits:
        if letters:
            return "letters with digits"
        return "digits" if word.isdigit() else "digits with marks"
    if not letters:
        return "mark" if not any(map(str.isalnum, word)) else "other"
    if word.islower():
        return "lower"
    if word.isupper():
        return "C." if sum(map(str.isalpha, word)) == 1 else "CAPITALS"
    if word[0].isupper() and word[1:].islower():
        return "Capital"
    return "miXed" if word.lower() != word.upper() else "other"
