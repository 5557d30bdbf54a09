#!/usr/bin/env bash
# From a fresh machine to an answer for each claim of the paper's abstract, with error bars: trains the paper's six kinds of attention and
# their controls with several seeds, on text, on copying and on needles, measures them beyond their training length, and writes which
# claims hold at this scale. Safe to repeat: a call that was stopped resumes where it was, and finished work is reused.
# Usage: scripts/reproduce.sh [cpu-short|cpu|gpu|FOLDER] [--publish] [--list]
#   cpu-short   12 minutes on two CPU cores once it is built: every stage, but too little training for an answer
#   cpu         about 90 minutes on two CPU cores; the default
#   gpu         162M parameters as in the paper, fewer tokens, sized for under 3 hours on one H100
#   FOLDER      a folder with a plan.yaml, like those in configs/reproduce
# Runs and results go to runs/reproduce-SIZE, data to data/reproduce-SIZE.
#   --publish   also renew docs/results.md and docs/results/ (for sizes other than cpu: docs/results-SIZE)
#   --list      show the stages, and which of them are done
here=$PWD
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help)
      sed -n '2,/^here=/ s/^# \{0,1\}//p' "scripts/${0##*/}" | sed '/^shellcheck/d'
      exit
      ;;
    --publish | --list | cpu-short | cpu | gpu) arguments+=("$argument") ;;
    *)
      folder=$(cd "$here" && realpath -m -- "$argument")
      [[ -f $folder/plan.yaml ]] || fail "$argument: neither cpu-short, cpu, gpu, --list or --publish, nor a folder with a plan.yaml"
      arguments+=("$folder")
      ;;
  esac
done

if [[ " $* " != *" --list "* || ! -x .venv/bin/python ]]; then
  stage "Set-up"
  scripts/setup.sh
  stage "Build"
  scripts/build.sh release ssgpt
fi
exec .venv/bin/python scripts/reproduce.py "${arguments[@]}"
