#!/bin/sh
# Write WNUT-17 with two more columns, which other models fill: data/wnut17_features/train.conll,
# dev.conll, test.conll, and all.conll, which is the first two.
#
#   seq2seq train recipes/tagging/ud_ewt.yaml
#   seq2seq train recipes/tagging/conll2003.yaml --model.frozen true --output runs/conll2003_frozen
#   sh recipes/tagging/wnut17_features.sh runs/ud_ewt/model runs/conll2003_frozen/model
set -e
upos=$1
news=$2
[ -n "$news" ] || { echo "usage: wnut17_features.sh UD_EWT_MODEL CONLL2003_MODEL" >&2; exit 2; }
mkdir -p data/wnut17_features
for split in train dev test; do
    out=data/wnut17_features/$split.conll
    gzip -dc data/ner/wnut17/$split.conll.gz | seq2seq tag "$upos" --columns > "$out.upos"
    seq2seq tag "$news" --columns --input "$out.upos" --output "$out"
    rm "$out.upos"
done
(cd data/wnut17_features && cat train.conll dev.conll > all.conll)
