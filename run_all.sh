#!/usr/bin/env bash
# Finds a Python, lets lib/twelvefold/run/pins.py choose the environment (or make .venv from requirements.txt and
# requirements-data.txt), then starts `python -m twelvefold`.
# Needs bash (3.2 or newer) and Python 3.11 or newer, nothing else.
set -eu

script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do # started through a link: follow it to the project
  target=$(readlink "$script")
  case $target in /*) script=$target ;; *) script=$(dirname -- "$script")/$target ;; esac
done
here=$(CDPATH='' cd -P -- "$(dirname -- "$script")" && pwd)

usage() {
  cat <<'END'
Usage: ./run_all.sh [COMMAND] [OPTIONS]

Makes the environment (.venv) when no suitable one is active, then runs COMMAND (default: run).

  run      execute notebooks and write figures/<preset>/ [--preset quick|gpu|paper] [--only GLOB] [--jobs N]
           [--force] [--seed S] [--device auto|cpu|cuda|mps] [--cluster tcp://host:port]
  test     the whole test suite; with arguments: pytest with these arguments
  lab      JupyterLab on this machine; further arguments are passed on
  status   which results are up to date, and why the others are not
  refresh  write executed notebooks and the README's tables from the last run
  redraw   figures, claims and ledger again from committed runs.csv files  [--preset P] [--only GLOB]
  doctor   what a bug report needs, with cures
  bench    benchmarks against named peers, written to figures/bench/
  script   run notebooks as plain scripts (needs only torch and the core dependencies)
  pack     put results into FILE.tar;  import: take results from FILE.tar after checking them
  lock     write requirements.txt;  badges: write the Colab and Binder badges

"./run_all.sh COMMAND --help" tells more. Exit status: 0 all ran, 1 some failed, 2 wrong usage,
3 another runner is at work in this tree, 130 interrupted.
END
}

# $1: the modules that it must have
find_python() {
  for name in python3 python3.13 python3.12 python3.11 python3.14 python; do
    if command -v "$name" >/dev/null 2>&1 &&
      "$name" -c "import sys, $1; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1; then
      echo "$name"
      return 0
    fi
  done
  return 1
}

case ${1-} in
  -h | --help | help)
    usage
    exit 0
    ;;
esac

if ! base=$(find_python "venv, ensurepip") && ! base=$(find_python "venv"); then
  echo "run_all.sh: no Python 3.11 or newer found; install one (for example python3.11 with its venv module)" >&2
  exit 1
fi

python=$("$base" -P "$here/lib/twelvefold/run/pins.py" ensure "$here")

TWELVEFOLD_CALLER_DIR=$PWD
export TWELVEFOLD_CALLER_DIR
cd "$here"
exec "$python" -m twelvefold "$@"
