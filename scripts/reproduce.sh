#!/usr/bin/env bash
# From a fresh machine to an answer for each sentence of the paper's abstract, with its errors: trains the paper's six
# attentions and their controls with several seeds, on text, on copying and on needles, measures them beyond the length that they were
# trained at, and writes what of the abstract holds at this scale. Safe to repeat: a call that was stopped goes on
# where it was, and what is finished is reused.
# Usage: scripts/reproduce.sh [cpu-short|cpu|gpu|FOLDER] [--publish] [--list]
#   cpu-short   under 15 minutes on two CPU cores: every stage, too little training for an answer
#   cpu         under 100 minutes on two CPU cores; the default
#   gpu         162M parameters as in the paper, fewer tokens, under 3 hours on one H100
#   FOLDER      a folder with a plan.yaml, as those in configs/reproduce
# Runs and results go to runs/reproduce-SIZE.
#   --publish   also renew docs/results.md and docs/results/
#   --list      show the stages, and which of them are done
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

case ${1-} in
  -h | --help)
    sed -n '2,/^$/ s/^# \{0,1\}//p' "$0" | sed '/^shellcheck/d'
    exit
    ;;
esac

stage "Set-up"
scripts/setup.sh
stage "Build"
scripts/build.sh release ssgpt
exec .venv/bin/python scripts/reproduce.py "$@"
