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
#   bash tools/device_checks.sh status               what has passed
#   bash tools/device_checks.sh report               writes what has been measured to docs/benchmarks.md
#
#   --programs DIR    a folder made by bundle, or a build folder (build)
#   --results DIR     logs, measurements, and what has passed (device_results)
#   --seconds N       stops after N seconds; the step that runs then counts as not done
#   --rounds N        of each table of bench (2); 1 where time is short
#   --output FILE     where report writes its section (docs/benchmarks.md)
#
# A step leaves STEP.log and, if it passed, STEP.passed in the results folder, and is skipped from then on.
# PYTHON=python3 chooses the Python that has PyTorch. The exit code is 0 if all steps passed, 2 without a device.
# shellcheck disable=SC2317  # functions are called by their names
set -euo pipefail
here=$(dirname "$0")  # as it was called: commands in logs and tables shall not name folders of this machine

programs=build
results=device_results
output=$here/../docs/benchmarks.md
deadline=0
rounds=2
python=${PYTHON:-python3}
failed=0
listing=false  # steps say their names instead of running

say() { printf '%s\n' "$*"; }
stop() {
  echo "device_checks: error: $1" >&2
  exit "${2:-1}"
}

commit_of_sources() { git -C "$here" describe --always --dirty --exclude '*' 2>/dev/null || echo unknown; }

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
  commit_of_sources >"$folder/commit"
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
  describe_run "$version"
}

# Every step notes the card and the commit it ran with: a results folder may see several of them.
describe_run() {
  local version=$1 driver
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1) || driver=unknown
  card="$(sed -n 's/.*cuda:0 (\([^)]*\)).*/\1/p' <<<"$version"), driver $driver"
  commit=$(if in_bundle; then cat "$programs/commit" 2>/dev/null || echo unknown; else commit_of_sources; fi)
  { say "$version"; say "commit: $commit"; nvidia-smi 2>&1 || true; } >"$results/device.txt"
  all_steps >"$results/steps.txt"
}

# ---- Steps ---------------------------------------------------------------------------------------------------------

# step NAME COMMAND...: runs a command once. It passed if it ended with 0 and its log names nothing that was skipped and
# no summary of errors.
step() {
  local name=$1 log=$results/$1.log begin=$SECONDS code=0
  shift
  if $listing; then
    say "$name"
    return
  fi
  if [ -f "$results/$name.passed" ]; then
    say "$name: passed before"
    return
  fi
  if [ "$deadline" -gt 0 ] && [ "$SECONDS" -ge "$deadline" ]; then
    failed=1
    say "$name: no time left"
    return
  fi
  rm -f "$results/$name.failed"
  "$@" >"$log" 2>&1 || code=$?
  if [ "$code" -eq 0 ] && ! grep -qE 'skipped:|SUMMARY: [1-9]' "$log"; then
    outcome $((SECONDS - begin)) passed >"$results/$name.tmp"
    mv "$results/$name.tmp" "$results/$name.passed"
    say "$name: passed ($((SECONDS - begin)) s)"
  else
    failed=1
    outcome $((SECONDS - begin)) "$(reason_of_failure "$code")" >"$results/$name.failed"
    say "$name: FAILED ($(reason_of_failure "$code"), $((SECONDS - begin)) s); the end of $log:"
    tail -n 15 "$log"
  fi
}

outcome() { printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$(date +%F)" "$commit" "$card" "$2"; }

reason_of_failure() {
  if [ "$deadline" -gt 0 ] && [ "$SECONDS" -ge "$deadline" ]; then
    say "no time left"
  elif [ "$1" -eq 0 ]; then
    say "its log names errors or what was skipped"
  else
    say "exit code $1"
  fi
}

# chosen CHECK "KNOWN..." NAME...: the names, or all that are known.
chosen() {
  local check=$1 known name
  read -ra known <<<"$2"
  shift 2
  for name in "$@"; do
    [[ " ${known[*]} " == *" $name "* ]] || stop "$check: expected some of ${known[*]}, found '$name'"
  done
  if [ $# -gt 0 ]; then say "$*"; else say "${known[*]}"; fi
}

# Runs a program, and ends it and what it started at the deadline.
in_time() {
  local left=$((deadline - SECONDS))
  say "+ $*"
  [ "$left" -ge 1 ] || left=1  # timeout takes 0 for no limit
  if [ "$deadline" -gt 0 ]; then timeout --kill-after 5 "$left" "$@"; else "$@"; fi
}

on_device() { NORMTUNE_TEST_DEVICE=cuda in_time "$@"; }
run_suite() { on_device "$(test_cuda)" --run_test="$1" --log_level=message --color_output=no; }

# Suites that compare kernels.
kernel_suites() { "$(test_cuda)" --list_content 2>&1 | sed -n 's/^\([a-z0-9_]*\)\*.*/\1/p' | grep -vxE 'training|emulator_itself'; }

cases_in() { cat "$@" 2>/dev/null | grep -oE '[0-9]+ generated cases' | awk '{ n += $1 } END { print n + 0 }'; }

# Of all suites of `kernels`, when all have passed.
count_kernel_cases() {
  local cases name
  cases=$(cases_in "$results"/kernels-*.log)
  say "kernels: $cases generated cases"
  while read -r name; do [ -f "$results/$name.passed" ] || return 0; done < <(grep '^kernels-' "$results/steps.txt")
  if [ "$cases" -lt 3000 ]; then
    failed=1
    say "kernels: expected at least 3000"
  fi
}

kernels() {
  local suite suites
  suites=$(chosen kernels "$(kernel_suites | paste -sd' ' -)" "$@")
  for suite in $suites; do step "kernels-$suite" run_suite "$suite"; done
  $listing || count_kernel_cases
}

# Matrix products are cuBLASLt's; the other suites have kernels of ours alone, but for `commands`, which starts programs.
suites_with_products=matmul,capture,linear_in_bfloat16,weight_gradients,fisher,bert_in_bfloat16,rounded_weights
own_suites() { kernel_suites | grep -vxE "commands|${suites_with_products//,/|}" | paste -sd, -; }

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

# Of a step whose log should tell of 200 generated cases.
check_200_cases() {
  local log=$1
  shift
  check_memory "$@" || return
  [ "$(cases_in "$log")" -ge 200 ] || { say "$(cases_in "$log") cases, expected at least 200"; return 1; }
}

sanitize_with() {
  local tool=$1 options=() beside_products=(--kernel-name kns=normtune)
  if [ "$tool" = memcheck ]; then
    options=(--padding 256)
    beside_products+=(--padding 256 --report-api-errors no)
  fi
  step "sanitize-$tool" check_200_cases "$results/sanitize-$tool.log" "$(own_suites)" "$tool" "${options[@]}"
  # Our kernels beside cuBLASLt's products, which are left out by name. initcheck has to see what these write.
  [ "$tool" = initcheck ] ||
    step "sanitize-$tool-products" check_memory "$suites_with_products" "$tool" "${beside_products[@]}"
}

sanitize() {
  local tool tools
  tools=$(chosen sanitize "memcheck racecheck initcheck synccheck" "$@")
  PATH=$PATH:/usr/local/cuda/bin
  $listing || command -v compute-sanitizer >/dev/null ||
    stop "compute-sanitizer is neither on the PATH nor in /usr/local/cuda/bin"
  for tool in $tools; do sanitize_with "$tool"; done
}

training() { step training run_suite training; }

# BERT-large, randomly initialised, by every method that bench has: no kernel or allocation fails at its size.
large() {
  local method methods
  methods=$(chosen large "full head layernorm layernorm-attention layernorm-all layernorm-bias layernorm-gain bitfit \
    random houlsby pfeiffer lora" "$@")
  for method in $methods; do
    step "large-$method" bench_alone --shape large --method "$method" --batch 32 --seq 128 --repeats 2
  done
}

bench_alone() { in_time "$(normtune)" bench --json --device cuda --precision bf16 "$@"; }

# ---- Benchmarks ----------------------------------------------------------------------------------------------------

# beside_pytorch NAME: one table. A run that was ended by the deadline begins anew.
beside_pytorch() {
  local name=$1 options
  read -ra options < <(tables | sed -n "s/^$name //p")
  rm -f "$results/bench-$name.md" "$results/bench-$name.jsonl"
  in_time "$python" "$here/compare_pytorch.py" --device cuda --normtune "$(normtune)" --output "$results/bench-$name.md" \
    --json "$results/bench-$name.jsonl" --rounds "$rounds" "${options[@]}"
}

# NAME and options of each table, the ones that matter most first. Compiling takes longest.
tables() {
  local bf16='--precision bf16' at_128='--batch 32 --seq 128' at_384='--batch 16 --seq 384'
  local both='--shapes base,large' pair='--methods full,layernorm' eager='--settings sdpa-fused'
  cat <<TABLES
base-128 $bf16 $at_128 --shapes base $pair --settings sdpa-fused,compile
large-128 $bf16 $at_128 --shapes large $pair --settings sdpa-fused,compile
mrpc $bf16 --batch 32 --lengths $here/bench_lengths_mrpc.txt $both $pair $eager --repeats 3
cola $bf16 --batch 32 --lengths $here/bench_lengths_cola.txt $both $pair $eager --repeats 3
base-384 $bf16 $at_384 --shapes base $pair $eager
large-384 $bf16 $at_384 --shapes large $pair $eager
methods-128 $bf16 $at_128 $both --methods layernorm-all,bitfit,lora $eager
peft-128 $bf16 $at_128 $both --methods layernorm,layernorm-all --settings peft
methods-384 $bf16 $at_384 $both --methods layernorm-all,bitfit,lora $eager
peft-384 $bf16 $at_384 $both --methods layernorm,layernorm-all --settings peft
fp32 --precision fp32 $at_128 $both $pair $eager
tf32 --precision tf32 $at_128 $both $pair $eager
compile-384 $bf16 $at_384 $both $pair --settings compile
TABLES
}

bench() {
  local name names
  names=$(chosen bench "alone graphs-true graphs-false $(tables | cut -d' ' -f1 | paste -sd' ' -)" "$@")
  for name in $names; do
    case $name in
      alone) step bench-alone bench_alone --shape base --batch 32 --seq 128 --kernels ;;
      graphs-*) step "bench-$name" bench_alone --shape base --method layernorm --batch 32 \
        --lengths "$here/bench_lengths_cola.txt" --cuda_graphs "${name#graphs-}" ;;
      *) step "bench-$name" beside_pytorch "$name" ;;
    esac
  done
}

# ---- Status and report ---------------------------------------------------------------------------------------------

all_steps() {
  local check listing=true
  for check in kernels sanitize training large bench; do "$check"; done
}

status() {
  local name seconds reason
  [ -f "$results/steps.txt" ] || stop "nothing has been run in $results"
  while read -r name; do
    if [ -f "$results/$name.passed" ]; then
      IFS=$'\t' read -r seconds _ <"$results/$name.passed"
      say "$name: passed ($seconds s)"
      continue
    fi
    failed=1
    if [ -f "$results/$name.failed" ]; then
      IFS=$'\t' read -r _ _ _ _ reason <"$results/$name.failed"
      say "$name: FAILED ($reason)"
    elif [ -f "$results/$name.log" ]; then
      say "$name: FAILED (interrupted)"
    else
      say "$name: not run"
    fi
  done <"$results/steps.txt"
  count_kernel_cases
}

report() { "$python" "$here/report_device.py" --results "$results" --output "$output"; }

# ---- Command line --------------------------------------------------------------------------------------------------

require_number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || stop "$1: expected a number from 1 on, found '$2'"; }

words=()
while [ $# -gt 0 ]; do
  case $1 in
    --programs | --results | --seconds | --rounds | --output)
      [ $# -gt 1 ] || stop "$1: expected a value"
      case $1 in
        --programs) programs=$2 ;;
        --results) results=$2 ;;
        --output) output=$2 ;;
        --seconds) require_number "$1" "$2"; deadline=$((SECONDS + $2)) ;;
        --rounds) require_number "$1" "$2"; rounds=$2 ;;
      esac
      shift 2 ;;
    -h | --help) sed -n '2,/^# shellcheck/{/^# shellcheck/!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    -*) stop "unknown option $1 (see --help)" ;;
    *) words+=("$1"); shift ;;
  esac
done
[ ${#words[@]} -gt 0 ] || stop "expected bundle, kernels, sanitize, training, large, bench, status or report (see --help)"

programs=$(realpath -m "$programs")
case ${words[0]} in
  bundle)
    [ ${#words[@]} -eq 2 ] || stop "bundle: expected a folder"
    bundle "${words[1]}" ;;
  status | report)
    [ ${#words[@]} -eq 1 ] || stop "${words[0]}: expected no names, found '${words[1]}'"
    "${words[0]}" ;;
  kernels | sanitize | training | large | bench)
    mkdir -p "$results"
    require_device
    "${words[@]}" ;;
  *) stop "unknown check '${words[0]}': expected bundle, kernels, sanitize, training, large, bench, status or report" ;;
esac
exit "$failed"
