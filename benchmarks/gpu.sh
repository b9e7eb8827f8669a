#!/usr/bin/env bash
# The figures of docs/benchmarks.md, on a machine with one GPU and FlashInfer's kernels built:
#
#   benchmarks/gpu.sh tune       the suites into cache/, by the README's command
#   benchmarks/gpu.sh check      a second race and an exhaustive measurement into runs/, against the first
#   benchmarks/gpu.sh truth      our times against Nsight Compute's
set -euo pipefail
cd "$(dirname "$0")/.."

suites() { # what each suite is called, and how it is asked for
  echo "llama-3.1-8b --model llama-3.1-8b"
  echo "llama-3.1-70b-tp8 --model llama-3.1-70b --tp 8"
  echo "llama-3.1-8b-fp8 --model llama-3.1-8b --kv-dtype float8_e4m3fn --name llama-3.1-8b-fp8"
  echo "qwen2.5-7b --model qwen2.5-7b"
  echo "gpt-oss-120b --model gpt-oss-120b"
  echo "deepseek-v3.2 --model deepseek-v3.2"
  echo "deepseek-v3.2-normal --model deepseek-v3.2 --scores normal --name deepseek-v3.2-normal"
}

newest() { ls -t runs/"$1".*.json | head -1; }

case ${1:-} in
tune)
  while read -r name options; do
    # shellcheck disable=SC2086
    autotune tune $options
    echo
  done < <(suites)
  python3 benchmarks/speedup.py cache/*.json
  ;;
check)
  while read -r name options; do
    case $name in llama-3.1-8b | deepseek-v3.2) ;; *) continue ;; esac
    # shellcheck disable=SC2086
    autotune tune --no-cache $options >/dev/null
    echo "== $name: noise between two runs"
    python3 benchmarks/noise.py "cache/$name.json" "$(newest "$name")" || true
    # shellcheck disable=SC2086
    autotune tune --no-cache --exhaustive $options >/dev/null
    echo "== $name: regret and cost"
    python3 benchmarks/regret.py "cache/$name.json" "$(newest "$name")"
  done < <(suites)
  ;;
truth)
  python3 benchmarks/truth.py
  ;;
*)
  sed -n '/^#  /s/^# *//p' "$0"
  exit 2
  ;;
esac
