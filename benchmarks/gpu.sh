#!/usr/bin/env bash
# Everything that a GPU is needed for, each step with a time limit: benchmarks/gpu.sh RESULTS [STEP...]
#
# Steps: tests main speed search quality growth studies; all of them if none is named. A step that fails or runs out of
# time leaves the next ones alone, and goes on where it was when it is called again. Set OFFICIAL to a checkout of the
# published code to measure it too, and DATA to a folder with ml-1m-seq for the studies, which take `ml` otherwise.
set -u
if [ $# -lt 1 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 2
fi
mkdir -p "$1"
results=$(cd "$1" && pwd)
shift
[ -z "${OFFICIAL:-}" ] || OFFICIAL=$(cd "$OFFICIAL" && pwd) || exit 1
[ -z "${DATA:-}" ] || DATA=$(cd "$DATA" && pwd) || exit 1
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-$(command -v python || command -v python3)}
failed=0

limited() { # SECONDS NAME COMMAND...: run it, keep what it says, stop it in time as Ctrl-C would
    local seconds=$1 name=$2 begun=$SECONDS code
    shift 2
    timeout --signal=INT --kill-after=20 "$seconds" "$@" >>"$results/$name.log" 2>&1
    code=$?
    echo "$name: exit code $code after $((SECONDS - begun)) s; $results/$name.log"
    tail -n 3 "$results/$name.log"
    [ $code -eq 0 ] || failed=1
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
    tests) limited 300 tests "$python" -m pytest -q -m gpu -p no:cacheprovider tests/gpu ;;
    main) limited 240 main "$python" run_nasr.py --model=NASRSearch --dataset=ml --device=cuda "--runs_dir=$results/runs" ;;
    speed) bench 420 speed --cap=150 --only=import,search_step,ranking,retraining,evaluation,softmax,data ;;
    search) bench 300 search --cap=90 --only=search ;;
    quality) bench 220 quality --cap=180 --only=recbole,quality ;;
    growth) bench 120 growth --cap=100 --only=growth ;;
    studies)
        study fidelity --n_architectures=24
        study table2
        study depth
        ;;
    *)
        echo "unknown step '$1'; steps: tests main speed search quality growth studies"
        exit 2
        ;;
    esac
}

[ $# -gt 0 ] || set -- tests main speed search quality growth studies
for step in "$@"; do
    run_step "$step"
done
exit $failed
