#!/usr/bin/env bash
# From a fresh machine to two loss curves, Softmax and SSMax attention, trained on real text, and an honest statement
# of their difference: installs what is missing, builds, makes the corpus, trains a tokenizer, prepares token shards,
# trains both models, compares them. Safe to repeat: a call that was stopped goes on where it was, and what is
# finished is reused.
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

train() {
  local status=0
  # The program reads the run's newest checkpoint where there is one; of a finished run nothing is left to do.
  "$ssgpt" train --config "configs/quickstart/$1.yaml" --run-dir "$out/$1" --resume auto || status=$?
  case $status in
    0) ;;
    2 | 3)
      [[ -d $out/$1 ]] || fail "training $1 did not begin (see above)"
      fail "the run in $out/$1 does not fit the config or the data any more (see above); move it away and call this again: mv $out/$1 $out/$1.$(date +%Y%m%d-%H%M%S)"
      ;;
    *) fail "training $out/$1 ended with exit code $status (see above); this command again goes on from its last checkpoint" ;;
  esac
}

stage "1/8 Set-up"
scripts/setup.sh

stage "2/8 Build"
scripts/build.sh release ssgpt

stage "3/8 Corpus: the King James Bible"
if [[ -s $corpus ]]; then say "$corpus is there"; else data/bible.py "$corpus"; fi

stage "4/8 Tokenizer"
settings="--vocab-size 4096"
if [[ -s $tokenizer ]] && made_from "$tokenizer.made" "$settings" "$corpus"; then
  say "$tokenizer is there"
else
  # shellcheck disable=SC2086  # the settings are words
  "$ssgpt" tokenizer train --input "$corpus" --output "$tokenizer" $settings
  made "$tokenizer.made" "$settings" "$corpus"
fi

stage "5/8 Token shards"
settings="--validation-fraction 0.05"
if [[ -s $shards/train_000000.bin && -s $shards/validation_000000.bin ]] &&
  made_from "$shards.made" "$settings" "$corpus" "$tokenizer"; then
  say "the shards in $shards are there"
else
  # shellcheck disable=SC2086  # the settings are words
  "$ssgpt" prepare --input "$corpus" --tokenizer "$tokenizer" --out "$shards" $settings --overwrite
  made "$shards.made" "$settings" "$corpus" "$tokenizer"
fi

stage "6/8 Train with Softmax attention"
train softmax

stage "7/8 Train with SSMax attention"
train ssmax

stage "8/8 Compare"
"$ssgpt" compare "$out/softmax" "$out/ssmax" --baseline "$out/softmax" --out "$out/report"
.venv/bin/python scripts/report.py "$out/report"

stage "Done"
say "Report, one page that needs no network: $PWD/$out/report/report.html"
say "Runs, with curves for TensorBoard: tensorboard --logdir $out (in .venv/bin)"
