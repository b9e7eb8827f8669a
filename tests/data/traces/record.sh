#!/usr/bin/env bash
# Records the traces of this folder anew: on a machine with an H200, FlashInfer, sgl_kernel and Triton, in about a minute.
#
#   tests/data/traces/record.sh FOLDER
#
# Each is a path that `autotune profile` runs, eager, captured and replayed; FlashInfer's MLA, which it can't run, is
# recorded by record_mla.py. An exit code other than 0 is right for some: SDPA is not paged. What a trace must be judged
# to be stands in tests/profiling/test_profiling_recorded.py.
set -uo pipefail
[ $# -eq 1 ] || { sed -n '/^#  /s/^# *//p' "$0"; exit 2; }
mkdir -p "$1"
out=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
page=$(realpath "$here/../../../docs/own-kernels.md")
# The page's file is between its fence and the next one.
sed -n '/^```python triton_decode.py$/,/^```$/p' "$page" | sed '1d;$d' > "$work/triton_decode.py"
cd "$work" || exit 1

traces() { # name, options
  cat <<'L'
fa2-paged --paged
fa3-paged --paged --fa fa3
fa3-extend --no-paged --fa fa3
fa2-pair --mode dllm_extend --no-paged --fa fa2
fa3-pair --mode dllm_extend --no-paged --fa fa3
fa3-ragged --mode dllm_extend --no-paged --no-prefix --fa fa3
decode-fa2 --mode decode
decode-fa3 --mode decode --fa fa3
decode-cuda-cores --mode decode --paged --backend flashinfer.decode(path=cuda_cores,page_size=1)
decode-triton --mode decode --paged --kernels triton_decode.py --backend mine.triton_decode
sdpa-flash --mode decode --paged --batch 2 --backend torch.sdpa(kernel=flash)
sdpa-cudnn --mode decode --paged --batch 2 --backend torch.sdpa(kernel=cudnn)
sdpa-efficient --mode decode --paged --batch 2 --backend torch.sdpa(kernel=efficient)
sdpa-math --mode decode --paged --batch 2 --backend torch.sdpa(kernel=math)
topk-filtered --mode topk --model deepseek-v3.2 --batch 8 --backend flashinfer.top_k_ragged_transform
topk-radix --mode topk --model deepseek-v3.2 --batch 8 --backend flashinfer.top_k_ragged_transform(algorithm=multi_cta)
topk-sgl --mode topk --model deepseek-v3.2 --batch 8 --backend sgl_kernel.fast_topk_v2
L
}

keep() { # name, the command's exit code
  echo "$1 exit $2: $(python3 "$here/keep_trace.py" "$work/$1.json.gz" "$out/$1.json.gz" 2>&1 | tail -1)"
}

record() { # a line of traces
  local name=${1%% *} options=${1#* }
  # shellcheck disable=SC2086
  timeout 150 autotune profile $options --trace "$work/$name.json.gz" > "$work/$name.txt" 2>&1
  local code=$?
  keep "$name" $code
  [ -e "$out/$name.json.gz" ] || sed "s/^/  $name: /" "$work/$name.txt" | tail -5
}

mla() { # fa2 or fa3
  timeout 300 python3 "$here/record_mla.py" "$1" "$work/mla-$1.json.gz" > "$work/mla-$1.txt" 2>&1
  local code=$?
  keep "mla-$1" $code
  [ $code -eq 0 ] || sed "s/^/  mla-$1: /" "$work/mla-$1.txt" | tail -5
}

export -f record keep
export here work out
# First what is compiled.
mla fa2 & mla fa3 &
traces | xargs -d '\n' -P 6 -I{} bash -c 'record "$1"' _ {}
wait
ls "$out"/*.json.gz | wc -l | sed 's/$/ traces/'
