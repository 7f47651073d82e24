#!/bin/bash
# The tables of docs/tools.md: loadtest beside wrk and vegeta, in alternating pairs, with medians of PAIRS (5).
# Needs go, jq, curl, and what it compares with: wrk (a package of most systems) and vegeta, which it builds.
#   scripts/tools.sh [part...]     parts: closed precision stall
# Keep the machine idle meanwhile. Each part takes one to three minutes and stops all that it started.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${PAIRS:-5} seconds=${SECONDS_EACH:-3} users=${USERS:-64}
scratch=$(mktemp -d)
port=18280
export LOG_LEVEL=warn
pids=() stopped= under=()
parts=("$@")
[ $# -gt 0 ] || parts=(closed precision stall)

finish() {
    local pid
    [ -z "$stopped" ] || kill -CONT "$stopped" 2>/dev/null || true
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap finish EXIT

# serve NAME=VALUE... starts stage 4 in the background and waits until it is ready.
serve() {
    port=$((port + 1))
    env "$@" ADDR=127.0.0.1:$port "$scratch/loadtest" serve stage4-async >>"$scratch/log" 2>&1 &
    pids+=($!)
    curl -s -o "$scratch/ready" --retry 120 --retry-all-errors --retry-delay 1 --fail "http://127.0.0.1:$port/ready" ||
        { cat "$scratch/log" >&2; exit 1; }
}

# stop ends the stage that was started last.
stop() {
    kill "${pids[-1]}"
    wait "${pids[-1]}" || true
    unset 'pids[-1]'
}

# orders QUERY ARGUMENTS... prints what loadtest measures at the stage that runs. That the generator was late (exit code
# 5) is a result here.
orders() {
    local query=$1 code=0
    shift
    "${under[@]}" "$scratch/loadtest" run --target "http://127.0.0.1:$port" --workload sustained --warmup 1s \
        --no-audit --product "$product" --out "$scratch/out" "$@" >>"$scratch/log" 2>&1 || code=$?
    [ $code = 0 ] || [ $code = 5 ] || { tail -5 "$scratch/log" >&2; return 1; }
    jq -r ".runs[0] | $query" "$scratch/out/result.json"
}

median() { sort -g | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

# report TITLE FILE: median and range of the figures in FILE.
report() { printf '%-52s %s (%s to %s)\n' "$1" "$(median <"$2")" "$(sort -g "$2" | head -1)" "$(sort -g "$2" | tail -1)"; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f\n", a / b}'; }

# has TOOL says in a sentence when a tool is missing.
has() { command -v "$1" >/dev/null || { echo "$1 is not installed: left out."; return 1; }; }

# vegeta_attack ARGUMENTS... sends the order below and leaves the results in $scratch/results, without bodies.
vegeta_attack() {
    printf '{"user_id":1,"product_id":%s,"quantity":1}' "$product" >"$scratch/body.json"
    printf 'POST http://127.0.0.1:%s/orders\nContent-Type: application/json\n%s@%s\n' "$port" "$key" "$scratch/body.json" >"$scratch/target"
    vegeta attack -targets="$scratch/target" -max-body=0 -output="$scratch/results" "$@"
}

wrk_rate() {
    cat >"$scratch/order.lua" <<LUA
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Idempotency-Key"] = "00000000-0000-4000-8000-000000000000"
wrk.body = '{"user_id":1,"product_id":$product,"quantity":1}'
LUA
    wrk -t1 -c"$users" -d"${seconds}s" -s "$scratch/order.lua" "http://127.0.0.1:$port/orders" | awk '/Requests\/sec/ {print $2}'
}

vegeta_rate() {
    vegeta_attack -rate=0 -workers="$users" -max-workers="$users" -duration="${seconds}s"
    vegeta report -type=json "$scratch/results" | jq .throughput
}

# closed: one generator process, as fast as its connections allow, on a stage that does nothing but HTTP. The requests
# are alike; loadtest makes a new idempotency key for each, the others send one and the same.
closed() {
    local tool a b
    product=1 key=$'Idempotency-Key: 00000000-0000-4000-8000-000000000000\n'
    serve GUARD=noop
    for tool in wrk vegeta; do
        has $tool || continue
        for _ in $(seq "$pairs"); do
            a=$(orders .qps --users "$users" --duration "${seconds}s")
            b=$(${tool}_rate)
            echo "requests per second: loadtest $a, $tool $b"
            ratio "$a" "$b" >>"$scratch/closed-$tool"
        done
        report "loadtest / $tool, $users connections" "$scratch/closed-$tool"
    done
    stop
}

# precision: which part of the sends is within 1 ms of a schedule of 5,000 a second, beside a loop that only waits; and
# where the user may do that, with real-time priority.
precision() {
    local a b late='100 * (1 - .generator.late_share)' late_flags=(--rate 5000 --lag-tolerance 1ms)
    product=1
    go test -c -o "$scratch/bare" ./loadtest/attack
    serve GUARD=noop
    for _ in $(seq "$pairs"); do
        a=$(orders "$late" --users "$users" --duration "${seconds}s" "${late_flags[@]}")
        if chrt -r 5 true 2>>"$scratch/log"; then
            under=(chrt -r 5)
            orders "$late" --users "$users" --duration "${seconds}s" "${late_flags[@]}" >>"$scratch/first"
            under=()
        fi
        b=$("$scratch/bare" -test.run NONE -test.bench BareLoop/short -test.benchtime 1x | awk '{for (i = 2; i <= NF; i++) if ($i == "%≤1ms") print $(i - 1)}')
        echo "sends within 1 ms, in percent: loadtest $a, with chrt -r 5 $(tail -1 "$scratch/first" 2>>"$scratch/log" || echo not allowed), bare loop $b"
        echo "$a" >>"$scratch/sends"
        echo "$b" >>"$scratch/loop"
    done
    stop
    report "sends within 1 ms at 5,000/s, percent" "$scratch/sends"
    [ ! -e "$scratch/first" ] || report "the same, with chrt -r 5" "$scratch/first"
    report "bare loop within 1 ms at 5,000/s, percent" "$scratch/loop"
}

# stall_soon stops the stage that runs for a second, five seconds from now.
stall_soon() {
    sleep 5
    kill -STOP "$stopped"
    sleep 1
    kill -CONT "$stopped"
}

# stall: 1,000 orders a second for 12 s, of which the stage stands still for one. Both tools may have 2,000 orders open,
# so neither waits for a connection. No idempotency keys from vegeta, so the stage makes them.
stall() {
    local figure ours theirs
    has vegeta || return 0
    serve GUARD=batch QUEUE_CAP=4000 USER_LATENCY=20ms
    product=$("$scratch/loadtest" product --stock 1000000000 --users 2000 2>>"$scratch/log" | sed -n 's/^loadtest run .*--product \([0-9]*\) .*/\1/p')
    key=
    stopped=$(curl -s "http://127.0.0.1:$port/health" | jq .pid)
    for _ in $(seq "$pairs"); do
        stall_soon &
        pids+=($!)
        orders '.latency_ms | [.p50, .p99, .p99_9, .max] | map(tostring) | join(" ")' --users 2000 --rate 1000 --duration 12s >"$scratch/ours"
        wait "${pids[-1]}"
        unset 'pids[-1]'
        stall_soon &
        pids+=($!)
        vegeta_attack -rate=1000 -duration=12s -workers=2000 -max-workers=4000
        wait "${pids[-1]}"
        unset 'pids[-1]'
        vegeta encode -to csv "$scratch/results" >"$scratch/csv"
        awk -F, '$2 != 201 {n++} END {if (n) print "vegeta: " n " of " NR " requests were not accepted"}' "$scratch/csv"
        cut -d, -f3 "$scratch/csv" | sort -n | awk '{v[NR] = $1 / 1e6}
            function at(q) {return v[int(NR * q + 0.999999)]}
            END {print at(0.5), at(0.99), at(0.999), v[NR]}' >"$scratch/theirs"
        echo "p50 p99 p99.9 max, ms: loadtest $(<"$scratch/ours"), vegeta $(<"$scratch/theirs")"
        read -ra ours <"$scratch/ours"
        read -ra theirs <"$scratch/theirs"
        for figure in 0 1 2 3; do ratio "${ours[$figure]}" "${theirs[$figure]}" >>"$scratch/stall-$figure"; done
    done
    stopped=
    stop
    report "response time, loadtest / vegeta: p50" "$scratch/stall-0"
    report "p99" "$scratch/stall-1"
    report "p99.9" "$scratch/stall-2"
    report "max" "$scratch/stall-3"
}

go build -o "$scratch/loadtest" ./loadtest
PATH=$scratch:$PATH
command -v vegeta >/dev/null || GOWORK=off GOBIN=$scratch go install github.com/tsenart/vegeta/v12@latest >>"$scratch/log" 2>&1 || true
echo "$(date -u +%F), $(nproc) cores, $(go version | cut -d' ' -f3), $pairs pairs:"
for part in "${parts[@]}"; do "$part"; done
