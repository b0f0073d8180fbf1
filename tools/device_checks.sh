#!/usr/bin/env bash
# Everything that only a machine with a CUDA device can show, in steps of a few minutes that are done once.
#
#   bash tools/device_checks.sh bundle DIR          collects the built programs and their libraries in DIR
#   bash tools/device_checks.sh CHECK [OPTIONS]      runs a check:
#       kernels [SUITE...]          every kernel against the CPU's on generated cases, and repeats
#       sanitize [TOOL...]          compute-sanitizer (memcheck, racecheck, initcheck, synccheck) on some 200 of these cases
#       training                    100 steps of every method against the CPU's losses
#       large [METHOD...]           steps of BERT-large by every method
#       bench [NAME...]             training steps beside PyTorch
#       status                      what has passed
#
#   --programs DIR    a folder made by bundle, or a build folder (build)
#   --results DIR     logs, tables, and what has passed (device_results)
#   --seconds N       stops after N seconds; the step that runs then counts as not done
#   --rounds N        of each table of bench (2); 1 where time is short
#
# A step leaves STEP.log and, if it passed, STEP.passed in the results folder, and is skipped from then on.
# PYTHON=python3 chooses the Python that has PyTorch. The exit code is 0 if all steps passed, 2 without a device.
# shellcheck disable=SC2317  # functions are called by their names
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

programs=build
results=device_results
deadline=0
rounds=2
python=${PYTHON:-python3}
failed=0

say() { printf '%s\n' "$*"; }
stop() {
  echo "device_checks: error: $1" >&2
  exit "${2:-1}"
}

# ---- Bundle --------------------------------------------------------------------------------------------------------

# Shared libraries that a program needs, without glibc's (the kernel's companion on every machine) and CUDA's.
libraries_of() {
  ldd "$1" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' |
    grep -vE '/(libc|libm|libdl|librt|libpthread|libcuda|libcudart|libcublas|libcublasLt)\.so' || true
}

# A program's name in the bundle starts the program with the libraries beside it.
write_launcher() {
  cat >"$1" <<'LAUNCHER'
#!/usr/bin/env bash
here=$(cd "$(dirname "$0")" && pwd)
LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/bin/$(basename "$0")" "$@"
LAUNCHER
  chmod +x "$1"
}

bundle() {
  local folder=$1 program name library megabytes
  mkdir -p "$folder/bin" "$folder/lib"
  for program in "$programs/tools/normtune" "$programs/tests/test_cuda"; do
    [ -x "$program" ] || stop "$program is not there: build normtune and test_cuda first"
    name=$(basename "$program")
    strip -o "$folder/bin/$name" "$program"
    write_launcher "$folder/$name"
    while read -r library; do cp -L "$library" "$folder/lib/"; done < <(libraries_of "$program")
  done
  megabytes=$(du -sm "$folder" | cut -f1)
  say "$folder: $megabytes MB, $(find "$folder/lib" -type f | wc -l) libraries"
  [ "$megabytes" -lt 64 ] || stop "$folder has $megabytes MB, expected less than 64"
}

# ---- Programs and device -------------------------------------------------------------------------------------------

in_bundle() { [ -d "$programs/bin" ]; }
normtune() { if in_bundle; then echo "$programs/normtune"; else echo "$programs/tools/normtune"; fi; }
test_cuda() { if in_bundle; then echo "$programs/test_cuda"; else echo "$programs/tests/test_cuda"; fi; }

# Programs look for cuBLASLt where the loader does. Where it lies elsewhere, in the toolkit or beside PyTorch, a link among
# the bundle's libraries leads there.
link_cublas() {
  local found
  in_bundle || return 0
  if ldconfig -p 2>/dev/null | grep 'libcublasLt\.so\.13' >/dev/null; then return 0; fi
  found=$({ compgen -G '/usr/local/cuda*/lib*/libcublasLt.so.13'
    compgen -G '/usr/local/cuda*/targets/*/lib/libcublasLt.so.13'
    "$python" -c 'import sys; print("\n".join(p + "/nvidia/cu13/lib/libcublasLt.so.13" for p in sys.path))' 2>/dev/null
  } | while read -r file; do [ -f "$file" ] && echo "$file"; done | head -n 1) || true
  [ -n "$found" ] || stop "libcublasLt.so.13 is neither in the toolkit nor beside PyTorch of $python"
  ln -sf "$found" "$programs/lib/libcublasLt.so.13"
}

require_device() {
  local version
  if ! [ -x "$(normtune)" ] || ! [ -x "$(test_cuda)" ]; then
    stop "no programs in $programs: expected a build folder, or what bundle made"
  fi
  version=$("$(normtune)" --version 2>&1) || stop "$(normtune) does not start here: $version"
  if ! grep -q 'cuda:0' <<<"$version"; then
    stop "no CUDA device here; nothing was run ($(grep devices <<<"$version" || echo "$version"))" 2
  fi
  link_cublas
  { say "$version"; nvidia-smi 2>&1 || true; } >"$results/device.txt"
}

# ---- Steps ---------------------------------------------------------------------------------------------------------

# step NAME COMMAND...: runs a command once. It passed if it ended with 0 and its log names nothing that was skipped and
# no summary of errors.
step() {
  local name=$1 log=$results/$1.log begin=$SECONDS code=0
  shift
  if [ -f "$results/$name.passed" ]; then
    say "$name: passed before"
    return
  fi
  if [ "$deadline" -gt 0 ] && [ "$SECONDS" -ge "$deadline" ]; then
    failed=1
    say "$name: no time left"
    return
  fi
  "$@" >"$log" 2>&1 || code=$?
  if [ "$code" -eq 0 ] && ! grep -qE 'skipped:|SUMMARY: [1-9]' "$log"; then
    say "$((SECONDS - begin))" >"$results/$name.passed"
    say "$name: passed ($((SECONDS - begin)) s)"
  else
    failed=1
    say "$name: FAILED (exit code $code, $((SECONDS - begin)) s); the end of $log:"
    tail -n 15 "$log"
  fi
}

# Ends a program, and what it started, at the deadline.
in_time() {
  if [ "$deadline" -gt 0 ]; then timeout --kill-after 5 $((deadline - SECONDS)) "$@"; else "$@"; fi
}

on_device() { NORMTUNE_TEST_DEVICE=cuda in_time "$@"; }
run_suite() { on_device "$(test_cuda)" --run_test="$1" --log_level=message --color_output=no; }

# Suites that compare kernels.
kernel_suites() { "$(test_cuda)" --list_content 2>&1 | sed -n 's/^\([a-z0-9_]*\)\*.*/\1/p' | grep -vE '^(training|emulator_itself)$'; }

cases_in() { cat "$@" 2>/dev/null | grep -oE '[0-9]+ generated cases' | awk '{ n += $1 } END { print n + 0 }'; }

# expect_cases NAME LEAST LOG...
expect_cases() {
  local name=$1 least=$2 cases
  shift 2
  cases=$(cases_in "$@")
  say "$name: $cases generated cases"
  if [ "$cases" -lt "$least" ]; then
    failed=1
    say "$name: expected at least $least"
  fi
}

kernels() {
  local suite least=3000 suites=("$@")
  [ ${#suites[@]} -gt 0 ] || mapfile -t suites < <(kernel_suites)
  for suite in "${suites[@]}"; do step "kernels-$suite" run_suite "$suite"; done
  [ $# -eq 0 ] || least=0
  expect_cases kernels "$least" "$results"/kernels-*.log
}

# Matrix products are cuBLASLt's; the other suites have kernels of ours alone.
suites_with_products=matmul,capture,linear_in_bfloat16,weight_gradients,fisher,bert_in_bfloat16,rounded_weights
own_suites() { kernel_suites | grep -vxE "${suites_with_products//,/|}" | paste -sd, -; }

# check_memory TESTS TOOL OPTIONS...: a dozen cases of each group under a tool, each kernel once.
check_memory() {
  local tests=$1 binary
  shift
  binary=$(test_cuda)
  if in_bundle; then  # the program itself, not its launcher
    binary=$programs/bin/test_cuda
    local -x LD_LIBRARY_PATH=$programs/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  fi
  NORMTUNE_TEST_CASES=12 on_device compute-sanitizer --tool "$@" --error-exitcode 99 --print-limit 20 --launch-timeout 120 \
    "$binary" --run_test="$tests" --log_level=message --color_output=no
}

sanitize_with() {
  local tool=$1 options=() beside_products=(--kernel-name kns=normtune)
  if [ "$tool" = memcheck ]; then
    options=(--padding 256)
    beside_products+=(--padding 256 --report-api-errors no)
  fi
  step "sanitize-$tool" check_memory "$(own_suites)" "$tool" "${options[@]}"
  expect_cases "sanitize-$tool" 200 "$results/sanitize-$tool.log"
  # Our kernels beside cuBLASLt's products, which are left out by name. initcheck has to see what these write.
  [ "$tool" = initcheck ] ||
    step "sanitize-$tool-products" check_memory "$suites_with_products" "$tool" "${beside_products[@]}"
}

sanitize() {
  local tool tools=("$@")
  [ ${#tools[@]} -gt 0 ] || tools=(memcheck racecheck initcheck synccheck)
  PATH=$PATH:/usr/local/cuda/bin
  command -v compute-sanitizer >/dev/null || stop "compute-sanitizer is neither on the PATH nor in /usr/local/cuda/bin"
  for tool in "${tools[@]}"; do
    case $tool in
      memcheck | racecheck | initcheck | synccheck) sanitize_with "$tool" ;;
      *) stop "sanitize: expected memcheck, racecheck, initcheck or synccheck, found '$tool'" ;;
    esac
  done
}

training() { step training run_suite training; }

# BERT-large, randomly initialised, by every method that bench has: no kernel or allocation fails at its size.
large() {
  local method methods=("$@")
  [ ${#methods[@]} -gt 0 ] ||
    methods=(full head layernorm layernorm-attention layernorm-all layernorm-bias layernorm-gain bitfit random houlsby pfeiffer lora)
  for method in "${methods[@]}"; do
    step "large-$method" in_time "$(normtune)" bench --device cuda --precision bf16 --shape large --method "$method" --batch 32 --seq 128 --repeats 2
  done
}

# ---- Benchmarks ----------------------------------------------------------------------------------------------------

# beside_pytorch NAME OPTIONS...: one table and the raw results.
beside_pytorch() {
  local name=$1
  shift
  in_time "$python" "$here/compare_pytorch.py" --device cuda --normtune "$(normtune)" --output "$results/bench-$name.md" \
    --json "$results/bench-$name.jsonl" "$@"
}

# NAME and options of each table, the ones that matter most first. Compiling takes longest.
bench_steps() {
  local rest=layernorm-all,bitfit,lora shape batch
  for batch in '32 --seq 128' '16 --seq 384'; do
    for shape in base large; do
      say "$shape-${batch##* } --precision bf16 --batch $batch --shapes $shape --methods full,layernorm --settings sdpa-fused,compile --rounds $rounds"
    done
  done
  for batch in '32 --seq 128' '16 --seq 384'; do
    say "methods-${batch##* } --precision bf16 --batch $batch --shapes base,large --methods $rest --settings sdpa-fused --rounds $rounds"
  done
  for task in mrpc cola; do
    say "$task --precision bf16 --batch 32 --lengths $here/bench_lengths_$task.txt --shapes base,large --methods full,layernorm --settings sdpa-fused --rounds $rounds --repeats 3"
  done
  for precision in fp32 tf32; do
    say "$precision --precision $precision --batch 32 --seq 128 --shapes base,large --methods full,layernorm --settings sdpa-fused --rounds $rounds"
  done
}

bench() {
  local name options graphs names=("$@")
  for name in "${names[@]}"; do
    bench_steps | grep "^$name " >/dev/null || stop "bench: expected some of $(bench_steps | cut -d' ' -f1 | paste -sd' ' -), found '$name'"
  done
  step bench-alone in_time "$(normtune)" bench --device cuda --precision bf16 --shape base --batch 32 --seq 128 --kernels
  for graphs in true false; do
    step "bench-graphs-$graphs" in_time "$(normtune)" bench --device cuda --precision bf16 --shape base --method layernorm --batch 32 \
      --lengths "$here/bench_lengths_cola.txt" --cuda_graphs "$graphs"
  done
  while read -r name options; do
    [ ${#names[@]} -eq 0 ] || [[ " ${names[*]} " == *" $name "* ]] || continue
    # shellcheck disable=SC2086  # options are words
    step "bench-$name" beside_pytorch "$name" $options
  done < <(bench_steps)
}

# ---- Status --------------------------------------------------------------------------------------------------------

status() {
  local log name
  for log in "$results"/*.log; do
    [ -f "$log" ] || { say "nothing has been run in $results"; return; }
    name=$(basename "$log" .log)
    if [ -f "$results/$name.passed" ]; then say "$name: passed ($(cat "$results/$name.passed") s)"; else say "$name: FAILED"; failed=1; fi
  done
  say "kernels: $(cases_in "$results"/kernels-*.log) generated cases"
}

# ---- Command line --------------------------------------------------------------------------------------------------

words=()
while [ $# -gt 0 ]; do
  case $1 in
    --programs | --results | --seconds | --rounds)
      [ $# -gt 1 ] || stop "$1: expected a value"
      case $1 in
        --programs) programs=$2 ;;
        --results) results=$2 ;;
        --seconds) deadline=$((SECONDS + $2)) ;;
        --rounds) rounds=$2 ;;
      esac
      shift 2 ;;
    -h | --help) sed -n '2,/^# shellcheck/{/^# shellcheck/!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    -*) stop "unknown option $1 (see --help)" ;;
    *) words+=("$1"); shift ;;
  esac
done
[ ${#words[@]} -gt 0 ] || stop "expected bundle, kernels, sanitize, training, large, bench or status (see --help)"

if [ "${words[0]}" = bundle ]; then
  [ ${#words[@]} -eq 2 ] || stop "bundle: expected a folder"
  bundle "${words[1]}"
  exit 0
fi
programs=$(realpath -m "$programs")
mkdir -p "$results"
[ "${words[0]}" = status ] || require_device
case ${words[0]} in
  kernels | sanitize | training | large | bench | status) "${words[@]}" ;;
  *) stop "unknown check '${words[0]}': expected bundle, kernels, sanitize, training, large, bench or status" ;;
esac
exit "$failed"
