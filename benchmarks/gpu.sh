#!/usr/bin/env bash
# Everything that a GPU is needed for, each step with a time limit: benchmarks/gpu.sh RESULTS [STEP...]
#
# Steps: tests main speed search scoring quality growth studies, the most telling first; all of them if none is named. A
# step that fails or runs out of time leaves the next ones alone, and goes on where it was when it is called again.
# LIMIT      seconds for all steps together: a step gets what is left, and is left out where that is too little
# ARCHIVE    file such as results.tar.gz with all of RESULTS but weights, written anew after every step
# OFFICIAL   checkout of the published code, to measure it too
# DATA       folder with ml-1m-seq for the studies, which take `ml` otherwise
set -u
export PYTHONUNBUFFERED=1
if [ $# -lt 1 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
fi
mkdir -p "$1"
results=$(cd "$1" && pwd)
shift
[ -z "${OFFICIAL:-}" ] || OFFICIAL=$(cd "$OFFICIAL" && pwd) || exit 1
[ -z "${DATA:-}" ] || DATA=$(cd "$DATA" && pwd) || exit 1
if [ -n "${ARCHIVE:-}" ]; then
    folder=$(cd "$(dirname "$ARCHIVE")" && pwd) || exit 1
    ARCHIVE=$folder/${ARCHIVE##*/}
fi
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-$(command -v python || command -v python3)}
failed=0

to_stop=20 # seconds from the signal to the kill
least=20   # seconds that are worth beginning a step

limited() { # SECONDS NAME COMMAND...: run it, keep what it says, stop it in time as Ctrl-C would
    local seconds=$1 name=$2 begun=$SECONDS code left
    shift 2
    left=$((${LIMIT:-1000000} - SECONDS - to_stop))
    if [ $left -lt $least ]; then
        echo "$name: left out, for of the $LIMIT s too few are left"
        failed=1
        return
    fi
    [ $left -ge "$seconds" ] || seconds=$left
    timeout --signal=INT --kill-after=$to_stop "$seconds" "$@" >>"$results/$name.log" 2>&1
    code=$?
    echo "$name: exit code $code after $((SECONDS - begun)) s; $results/$name.log"
    tail -n 3 "$results/$name.log"
    [ $code -eq 0 ] || failed=1
    archive
}

archive() { # keep all that is there in one file, which is whole at any time
    [ -n "${ARCHIVE:-}" ] || return 0
    tar -czf "$ARCHIVE.part" --exclude='*.pth' --exclude='*.pt' -C "$results" . && mv "$ARCHIVE.part" "$ARCHIVE"
}

bench() { # SECONDS NAME ARGUMENTS...
    local seconds=$1 name=$2
    shift 2
    limited "$seconds" "$name" "$python" benchmarks/bench.py --device=cuda --scale=paper --resume --seconds=4 \
        --json="$results/speed-gpu.json" ${OFFICIAL:+--official="$OFFICIAL"} "$@"
}

study() { # NAME ARGUMENTS...
    local name=$1
    shift
    local data=(--dataset=ml)
    [ -n "${DATA:-}" ] && data=(--dataset=ml-1m-seq "--data_path=$DATA")
    limited 60 "study-$name" "$python" run_nasr.py "--study=$name" "${data[@]}" --device=cuda \
        "--runs_dir=$results/runs" --time_budget=45s "$@"
}

run_step() {
    case $1 in
    tests) limited 240 tests "$python" -m pytest -v --tb=short --durations=10 -m gpu -p no:cacheprovider tests/gpu ;;
    main) limited 180 main "$python" run_nasr.py --model=NASRSearch --dataset=ml --device=cuda "--runs_dir=$results/runs" ;;
    speed) bench 240 speed --cap=90 --only=search_step,retraining ;;
    search) bench 180 search --cap=90 --only=search ;;
    scoring) bench 180 scoring --cap=40 --only=ranking,evaluation,softmax,data ;;
    quality) bench 150 quality --cap=120 --only=recbole,quality ;;
    growth) bench 120 growth --cap=100 --only=growth ;;
    studies)
        study fidelity --n_architectures=24
        study table2
        study depth
        ;;
    *)
        echo "unknown step '$1'; steps: tests main speed search scoring quality growth studies"
        exit 2
        ;;
    esac
}

[ $# -gt 0 ] || set -- tests main speed search scoring quality growth studies
for step in "$@"; do
    run_step "$step"
done
exit $failed
