#!/usr/bin/env bash
# From a fresh machine to two answers with error bars: does SSMax attention lower the training loss, and does it retrieve
# more than Softmax beyond its training length? Installs what is missing, builds, makes the corpus, trains a tokenizer,
# prepares token shards, trains three kinds of attention on text with eight seeds each and compares their losses, then
# trains two kinds to copy with four seeds each and measures them at up to eight times the training length. Safe to
# repeat: a call that was stopped resumes where it was, and finished work is reused.
# Usage: scripts/quickstart.sh
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

ssgpt=build/release/ssgpt
corpus=data/bible/kjv.jsonl
tokenizer=data/bible/tokenizer.model
shards=data/bible/tokens
out=runs/quickstart
copying=data/copying
out_copying=runs/quickstart-copying

# made_from MARK SETTINGS FILE...: whether `made` wrote MARK for these settings and the files' present contents.
mark() { echo "$1" && sha256sum "${@:2}"; }
made_from() { [[ -f $1 && $(<"$1") == "$(mark "${@:2}")" ]]; }
made() { mark "${@:2}" >"$1"; }

stage "1/9 Set-up"
scripts/setup.sh

stage "2/9 Build"
scripts/build.sh release ssgpt

stage "3/9 Corpus: the King James Bible"
if [[ -s $corpus ]]; then say "$corpus exists"; else data/bible.py "$corpus"; fi

stage "4/9 Tokenizer"
settings="--vocab-size 4096"
if [[ -s $tokenizer ]] && made_from "$tokenizer.made" "$settings" "$corpus"; then
  say "$tokenizer exists"
else
  # shellcheck disable=SC2086  # the settings are words
  "$ssgpt" tokenizer train --input "$corpus" --output "$tokenizer" $settings --overwrite
  made "$tokenizer.made" "$settings" "$corpus"
fi

stage "5/9 Token shards"
settings="--validation-fraction 0.05"
if [[ -s $shards/train_000000.bin && -s $shards/validation_000000.bin ]] &&
  made_from "$shards.made" "$settings" "$corpus" "$tokenizer"; then
  say "the shards in $shards exist"
else
  # shellcheck disable=SC2086  # the settings are words
  "$ssgpt" prepare --input "$corpus" --tokenizer "$tokenizer" --out "$shards" $settings --overwrite
  made "$shards.made" "$settings" "$corpus" "$tokenizer"
fi

# train CONFIG OUT: trains all runs of a sweep.
train() {
  local status=0
  "$ssgpt" sweep --config "$1" --run-dir "$2" || status=$?
  case $status in
    0) ;;
    2 | 3) fail "the sweep in $2 did not begin (see above); if its runs have other settings or data, move them away and run this again: mv $2 $2.$(date +%Y%m%d-%H%M%S)" ;;
    *) fail "the sweep in $2 ended with exit code $status (see above); run this command again to resume" ;;
  esac
}

stage "6/9 Train Softmax, its temperature, and SSMax on text, eight seeds each; compare"
train configs/quickstart/sweep.yaml "$out"
.venv/bin/python scripts/report.py "$out/report"

stage "7/9 Copying: the data"
settings="--vocab-size 64 --length 256 --windows 40000 --seed 1"
if [[ -s $copying/prepare.json ]] && made_from "$copying.made" "$settings"; then
  say "the shards in $copying exist"
else
  # shellcheck disable=SC2086  # the settings are words
  "$ssgpt" prepare --synthetic copy --out "$copying" $settings --overwrite
  made "$copying.made" "$settings"
fi

stage "8/9 Copying: train Softmax and SSMax on windows of 256 tokens, four seeds each"
train configs/quickstart/copying/sweep.yaml "$out_copying"

stage "9/9 Copying: retrieval in 256 to 2,048 tokens"
retrieval=$out_copying/retrieval
settings="--task copy --lengths 256,512,1024,2048 --rope-theta 10000,500000"
mapfile -t manifests < <(printf '%s\n' "$out_copying"/*/checkpoints/*/manifest.json)
if [[ -s $retrieval/report.html ]] && made_from "$retrieval.made" "$settings" "${manifests[@]}"; then
  cat "$retrieval/table.txt"
else
  # shellcheck disable=SC2086  # the settings are words
  "$ssgpt" evaluate retrieval --checkpoint "$out_copying" --out "$retrieval" $settings
  .venv/bin/python scripts/report.py "$retrieval"
  made "$retrieval.made" "$settings" "${manifests[@]}"
fi

stage "Done"
.venv/bin/python scripts/report.py "$out/report" "$retrieval" --picture "$out/both.png"
say "Both answers in one picture: $PWD/$out/both.png"
say "Loss on text, one page that needs no network: $PWD/$out/report/report.html"
say "Copying beyond the trained length, likewise: $PWD/$retrieval/report.html"
say "Runs, with curves for TensorBoard: tensorboard --logdir runs (in .venv/bin)"
