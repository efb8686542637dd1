"""The commands of captioning: caption, evaluate-captions. ``seq2seq.cli`` runs them."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from seq2seq.command_line.command import Command
from seq2seq.command_line.drawing import (
    DRAWN,
    check_drawing,
    check_settings,
    drawing_options,
    given_drawing,
    sampling_options,
)
from seq2seq.command_line.files import open_text_output
from seq2seq.command_line.options import (
    add_ensemble,
    add_machine,
    add_model,
    check_beam,
    further_file,
    given,
    load_models,
    number,
    option_name,
    output_file,
    picture,
    whole,
)
from seq2seq.command_line.rules import Needs
from seq2seq.config.checks import MAX_SAMPLES, check_order
from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.tasks.captioning.named_images import files_named, given_names

if TYPE_CHECKING:
    from seq2seq.tasks.captioning.captioner import Captioned, Captioner
    from seq2seq.tasks.captioning.config import CaptionDecodingConfig

_CAPTION_EXAMPLES = """\
Writes a line for each image, columns separated by a tab:
  plain                 image, caption
  --n-best N (N > 1)    image, score, caption; up to N lines for each image, best first
  --samples N (N > 1)   as --n-best, but drawn, in the order drawn; score: log probability
  --json                an object: image, captions (text, score, log_probability), or error; with
                        --mbr all that are different, the best first, and score is expected BLEU

A folder stands for all images in it and below, by name; - for the files that standard input
names, one a line. Unreadable images are reported on
standard error, and the exit status is then 1; the rest are still captioned. For a model of features
computed beforehand the files are .npy.

  seq2seq caption MODEL photo.jpg
  seq2seq caption MODEL photos/ more/dog.png --json > captions.jsonl
  find photos -newer captions.jsonl -name '*.jpg' | seq2seq caption MODEL -
  seq2seq caption MODEL photo.jpg --attention-plot focus.png      where each word looked
  seq2seq caption MODEL photo.jpg --ensemble MODEL-B MODEL-C      three models as one
  seq2seq caption MODEL photo.jpg --samples 5 --temperature 0.7 --seed 1
  seq2seq caption MODEL photo.jpg --mbr 40 --seed 1       of 40 drawn ones the most agreed with
"""

_EVALUATE_EXAMPLES = """\
Captions the images of DATA and scores the captions against the references there: BLEU-1 to BLEU-4,
ROUGE-L, CIDEr-D. DATA is a folder of images with metadata.jsonl in it, or such a file.

  seq2seq evaluate-captions MODEL photos/test --output captions.jsonl
  seq2seq evaluate-captions MODEL photos/test --mbr 40 --seed 1
"""

_SETTINGS = {  # those of CaptionDecodingConfig: option -> (least, help)
    "beam_size": (1, "1: greedy search"),
    "batch_size": (1, "images at a time"),
    "max_length": (1, "longest caption, in words"),
    "min_length": (0, "shortest caption, in words"),
    "no_repeat_ngram": (0, "no N-gram twice; 0: off"),
    "beam_groups": (1, "diverse beam search: the beam in N groups that avoid each other"),
}

_log = logging.getLogger("seq2seq")


def _add_caption(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="files or folders; -: those that standard input names",
    )
    add_ensemble(parser)
    parser.add_argument(
        "--output", type=output_file, metavar="FILE", help="write this file, not standard output"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines")
    parser.add_argument("--n-best", type=whole(1), default=1, metavar="N", help="captions of each")
    parser.add_argument(
        "--require", metavar="PHRASE", action="append", help="words that every caption must hold"
    )
    parser.add_argument("--forbid", metavar="PHRASE", action="append", help="and must not")
    parser.add_argument(
        "--attention-plot",
        type=picture,
        metavar="PICTURE",
        help="where each word of the first image's caption looked",
    )
    sampling_options(parser, "captions of each image")
    _options(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("data", metavar="DATA", help="images with captions")
    add_ensemble(parser)
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="of a file that names splits, as Karpathy's do",
    )
    parser.add_argument(
        "--images", metavar="DIR", help="where the images of a file lie (default: beside it)"
    )
    parser.add_argument(
        "--features",
        metavar="FEATURES",
        help="the images' features, of a model that reads features (default: data.features of its "
        "training, where {split} is --split or the name of DATA)",
    )
    parser.add_argument(
        "--output", type=further_file, metavar="FILE", help="write the captions here, as JSON lines"
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    drawing_options(parser.add_argument_group("sampling", "Goes with --mbr."))
    _options(parser)
    parser.set_defaults(samples=None, n_best=1, require=None, forbid=None)  # as caption has them


def _options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search", "Left out: as in the model's configuration.")
    for name, (least, text) in _SETTINGS.items():
        group.add_argument(option_name(name), type=whole(least), metavar="N", help=text)
    group.add_argument("--length-penalty", type=number, metavar="X", help="0: none")
    group.add_argument("--diversity", type=number, metavar="X", help="of groups (default: 0.5)")
    group.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="look at the mirror image, too, which takes twice the time",
    )
    risk = parser.add_argument_group("minimum Bayes risk")
    risk.add_argument(
        "--mbr",
        type=whole(2, MAX_SAMPLES),
        metavar="N",
        help="of N drawn captions the one with the best expected BLEU against all of them; here "
        "--temperature is 0.5 by default",
    )
    add_machine(parser)


def _caption(options: argparse.Namespace) -> int:
    """Exit status 1 where an image could not be captioned."""
    names = given_names(options.images)
    _check_drawing(options)
    captioner = _load(options)
    paths = files_named(names, _suffixes(captioner))
    settings = _settings(options, captioner)
    if options.attention_plot:
        _check_drawable(captioner)
    drawn, failed = None, 0
    seed = secrets.randbits(32) if options.seed is None else options.seed
    with _output(options.output) as sink:
        for start in range(0, len(paths), settings.batch_size):
            batch = paths[start : start + settings.batch_size]
            results = _written(captioner, batch, settings, options, seed)
            for path, found in zip(batch, results, strict=True):
                if found.error is not None:
                    failed += 1
                    _log.error("%s", found.error)
                elif drawn is None:
                    drawn = path
                if found.error is None and found.captions[0].missing:
                    missing = ", ".join(map(repr, found.captions[0].missing))
                    _log.warning("%s: the caption does not hold %s, which it was to", path, missing)
                sink.write(_lines(path, found, options))
            sink.flush()
    if options.attention_plot:  # last: a picture that cannot be written loses no caption
        if drawn is None:
            raise UsageError(f"--attention-plot {options.attention_plot}: no image was captioned")
        _draw(captioner, drawn, settings, options.precision, options.attention_plot)
    return 1 if failed else 0


def _evaluate(options: argparse.Namespace) -> int:
    from seq2seq.tasks.captioning.caption_formats import names_splits
    from seq2seq.tasks.captioning.captions import load_captions, names_of
    from seq2seq.tasks.captioning.scores import score_captions

    if options.split is not None and not names_splits(Path(options.data)):
        raise UsageError(
            "evaluate-captions: --split goes with a file that names splits, as Karpathy's JSON "
            f"files do; without it does nothing, and DATA, {options.data}, names none"
        )
    check_drawing(options, [])
    captioner = _load(options)
    rows = load_captions(options.data, options.split, options.images)
    settings = _settings(options, captioner)
    images = list(rows["image"])
    if captioner.config.model.encoder.kind == "features":
        images = _features_of(captioner, images, options)
    elif options.features:
        raise UsageError("--features: this model reads images; leave it out")
    if options.split is None and Path(options.data).is_file() and names_splits(Path(options.data)):
        _log.warning(
            "%s names splits, and all are scored together; --split test takes one", options.data
        )
    # Opened first: hours of captioning are not for a file that cannot be written.
    with _output(options.output) if options.output else contextlib.nullcontext() as sink:
        started = time.perf_counter()
        results = _written(captioner, images, settings, options, options.seed)
        seconds = time.perf_counter() - started
        texts = [found.text for found in results]  # a reference without its image: no score at all
        if sink:
            for name, text in zip(names_of(list(rows["image"])), texts, strict=True):
                sink.write(_json({"image": name, "caption": text}))
    scores = score_captions(texts, list(rows["captions"]))
    print(
        f"seq2seq: {len(texts)} images in {seconds:.1f} s ({len(texts) / seconds:.1f} images/s)",
        file=sys.stderr,
    )
    if options.json:
        print(
            to_json(
                {"images": len(texts), "scores": dataclasses.asdict(scores)},
                indent=2,
                ascii_only=True,
            )
        )
    else:
        print(scores)
    return 0


def _check_drawing(options: argparse.Namespace) -> None:
    """Raises UsageError for options of ``caption`` that do not go together."""
    searched = list(given(options, ("require", "forbid", "attention_plot")))
    check_drawing(options, [*searched, *["n_best"] * (options.n_best > 1)])


def _written(
    captioner: Captioner,
    images: list[Any],
    settings: CaptionDecodingConfig,
    options: argparse.Namespace,
    seed: int | None,
) -> list[Captioned]:
    """The captions of a batch of images, searched or drawn as the options say."""
    common: dict[str, Any] = {"decoding": settings, "precision": options.precision}
    drawing: dict[str, Any] = {**given_drawing(options), "seed": seed}
    if options.mbr is not None:
        return captioner.minimum_bayes_risk(images, samples=options.mbr, **drawing, **common)
    if options.samples is not None:
        return captioner.sample(images, samples=options.samples, **drawing, **common)
    return captioner.caption(
        images,
        n_best=options.n_best,
        require=options.require or (),
        forbid=options.forbid or (),
        **common,
    )


def _load(options: argparse.Namespace) -> Captioner:
    """MODEL, or the ensemble of it and those of --ensemble."""
    from seq2seq.tasks.captioning.captioner import Captioner

    captioners = load_models(options, "captioning", [options.model, *options.ensemble])
    return Captioner.ensemble(captioners) if options.ensemble else captioners[0]


def _features_of(captioner: Captioner, images: list[str], options: argparse.Namespace) -> list[Any]:
    """The features of the images: from --features, or else from where training had them."""
    from seq2seq.tasks.captioning.features import Features

    location = options.features or captioner.config.data.features or ""
    location = location.replace("{split}", options.split or Path(options.data).stem)
    size = captioner.config.model.encoder.size
    try:
        features = Features(location, size)
    except UsageError as error:
        raise UsageError(str(error).replace("data.features", "--features", 1)) from None
    features.check(images)
    return [features.one(image) for image in images]


def _lines(path: Path, captioned: Captioned, options: argparse.Namespace) -> str:
    if options.json:
        if captioned.error is not None:
            return _json({"image": str(path), "error": str(captioned.error)})
        names = ("text", "score", "log_probability")
        captions = [
            {name: getattr(one, name) for name in names}
            | ({"missing": one.missing} if one.missing else {})
            for one in captioned.captions
        ]
        return _json({"image": str(path), "captions": captions})
    if max(options.n_best, options.samples or 1) > 1:
        return "".join(f"{path}\t{one.score:.4f}\t{one.text}\n" for one in captioned.captions)
    return "".join(f"{path}\t{one.text}\n" for one in captioned.captions[:1])


def _json(values: dict[str, Any]) -> str:
    return to_json(values) + "\n"


def _check_drawable(captioner: Captioner) -> None:
    """What the configuration says already, before hours of captioning."""
    if captioner.config.model.encoder.kind == "features":
        raise UsageError("--attention-plot: this model reads features, there is no image to draw")
    model = captioner.model
    if not any(one.attends for one in getattr(model, "members", (model,))):
        raise UsageError("--attention-plot: this model attends to no grid that could be drawn")


def _draw(
    captioner: Captioner, path: Path, settings: CaptionDecodingConfig, precision: Any, picture: str
) -> None:
    from seq2seq.tasks.captioning.plots import attention_overlay

    captioned = captioner.caption([path], decoding=settings, precision=precision, attention=True)[0]
    best = captioned.captions[0]
    places = 0 if best.attention is None else best.attention.shape[1]
    side = round(places**0.5)
    if best.attention is None or side * side != places or places == 1:
        raise UsageError("--attention-plot: this model attends to no grid that could be drawn")
    if not best.tokens:
        raise UsageError(f"--attention-plot: the caption of {path} is empty: no word to draw")
    attention_overlay(path, best.tokens, best.attention, picture)


def _suffixes(captioner: Captioner) -> frozenset[str]:
    from seq2seq.images.files import SUFFIXES

    features = captioner.config.model.encoder.kind == "features"
    return frozenset({".npy"}) if features else frozenset(SUFFIXES)


def _settings(options: argparse.Namespace, captioner: Captioner) -> CaptionDecodingConfig:
    from seq2seq.tasks.captioning.config import check_mirror

    changed = given(options, (*_SETTINGS, "length_penalty", "diversity", "mirror"))
    settings = dataclasses.replace(captioner.config.decoding, **changed)
    check_mirror(settings, captioner.config, "caption")  # before hours of captioning
    check_order(settings, "min_length", "max_length", option_name)
    check_beam(options, settings.beam_size, settings.beam_groups)
    check_settings(options, settings.beam_size, settings.min_length)
    return settings


@contextlib.contextmanager
def _output(path: str | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    with open_text_output(path) as stream:
        yield stream


COMMANDS = (
    Command(
        "caption",
        "describe images",
        _add_caption,
        _caption,
        _CAPTION_EXAMPLES,
        rules=(Needs(DRAWN, ("--samples N", "--mbr N")),),
    ),
    Command(
        "evaluate-captions",
        "score captions",
        _add_evaluate,
        _evaluate,
        _EVALUATE_EXAMPLES,
        rules=(Needs(DRAWN, ("--mbr N",)),),
    ),
)
