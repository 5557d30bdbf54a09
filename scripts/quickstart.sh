#!/usr/bin/env bash
# From a fresh machine to an answer with its error: does SSMax attention lower the training loss, and does it owe that to
# log n or to a learned temperature? Installs what is missing, builds, makes the corpus, trains a tokenizer, prepares token
# shards, trains three kinds of attention with eight seeds each, compares them. Safe to repeat: a call that was stopped goes
# on where it was, and what is finished is reused.
# Usage: scripts/quickstart.sh
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

ssgpt=build/release/ssgpt
corpus=data/bible/kjv.jsonl
tokenizer=data/bible/tokenizer.model
shards=data/bible/tokens
out=runs/quickstart

# made_from MARK SETTINGS FILE...: whether MARK was written by made for these settings and the present contents of the
# files.
mark() { echo "$1" && sha256sum "${@:2}"; }
made_from() { [[ -f $1 && $(<"$1") == "$(mark "${@:2}")" ]]; }
made() { mark "${@:2}" >"$1"; }

stage "1/7 Set-up"
scripts/setup.sh

stage "2/7 Build"
scripts/build.sh release ssgpt

stage "3/7 Corpus: the King James Bible"
if [[ -s $corpus ]]; then say "$corpus is there"; else data/bible.py "$corpus"; fi

stage "4/7 Tokenizer"
settings="--vocab-size 4096"
if [[ -s $tokenizer ]] && made_from "$tokenizer.made" "$settings" "$corpus"; then
  say "$tokenizer is there"
else
  # shellcheck disable=SC2086  # the settings are words
  "$ssgpt" tokenizer train --input "$corpus" --output "$tokenizer" $settings --overwrite
  made "$tokenizer.made" "$settings" "$corpus"
fi

stage "5/7 Token shards"
settings="--validation-fraction 0.05"
if [[ -s $shards/train_000000.bin && -s $shards/validation_000000.bin ]] &&
  made_from "$shards.made" "$settings" "$corpus" "$tokenizer"; then
  say "the shards in $shards are there"
else
  # shellcheck disable=SC2086  # the settings are words
  "$ssgpt" prepare --input "$corpus" --tokenizer "$tokenizer" --out "$shards" $settings --overwrite
  made "$shards.made" "$settings" "$corpus" "$tokenizer"
fi

stage "6/7 Train Softmax, its temperature, and SSMax, eight seeds each; compare"
status=0
"$ssgpt" sweep --config configs/quickstart/sweep.yaml --run-dir "$out" || status=$?
case $status in
  0) ;;
  2 | 3) fail "the sweep in $out did not begin (see above); where runs there are of other settings or data, move them away and call this again: mv $out $out.$(date +%Y%m%d-%H%M%S)" ;;
  *) fail "the sweep in $out ended with exit code $status (see above); this command again goes on where it was" ;;
esac

stage "7/7 Figure and page"
.venv/bin/python scripts/report.py "$out/report"

stage "Done"
say "Report, one page that needs no network: $PWD/$out/report/report.html"
say "Runs, with curves for TensorBoard: tensorboard --logdir $out (in .venv/bin)"
