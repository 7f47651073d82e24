#!/bin/bash
# The speed table of the README: alternating pairs, medians of PAIRS (5). Needs go, jq, wrk and pgbench.
#   scripts/speed.sh
# Keep the machine idle meanwhile. It takes about PAIRS minutes and stops all that it started.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${PAIRS:-5} seconds=${SECONDS_EACH:-3} users=${USERS:-64}
scratch=$(mktemp -d)
port=18080
export USER_LATENCY=0s LOG_LEVEL=warn
pids=()

finish() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap finish EXIT

go build -o "$scratch/loadtest" ./loadtest

# serve STAGE NAME=VALUE... starts a stage in the background and waits until it is ready.
serve() {
    local stage=$1
    shift
    port=$((port + 1))
    env "$@" ADDR=127.0.0.1:$port "$scratch/loadtest" serve "$stage" >>"$scratch/log" 2>&1 &
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

# orders NAME=VALUE... prints what loadtest measures at the stage that runs: the figure of that key.
orders() {
    local key=$1
    shift
    "$scratch/loadtest" run --target "http://127.0.0.1:$port" --workload sustained --users "$users" --warmup 1s \
        --duration "${seconds}s" --out "$scratch/out" "$@" >>"$scratch/log" 2>&1
    jq ".runs[0].$key" "$scratch/out/result.json"
}

wrk_rate() {
    wrk -t1 -c"$users" -d"${seconds}s" -s "$scratch/order.lua" "http://127.0.0.1:$port/orders" | awk '/Requests\/sec/ {print $2}'
}

# hot_row CONNECTIONS prints pgbench's orders per second on one product.
hot_row() {
    pgbench -n -M prepared -f scripts/hot-row.sql -D product="$product" -c "$1" -j 1 -T "$seconds" "$database" 2>>"$scratch/log" |
        awk '/^tps/ {print $3}'
}

median() { sort -g | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

# report TITLE FILE: median and range of the ratios in FILE.
report() { printf '%-44s %s (%s to %s)\n' "$1" "$(median <"$2")" "$(sort -g "$2" | head -1)" "$(sort -g "$2" | tail -1)"; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f\n", a / b}'; }

# This stage only owns the databases that all others use.
serve stage1-single
serve stage2-multiproc # starts Redis, too
database=$(jq -r .url "${XDG_CACHE_HOME:-$HOME/.cache}/flashsale/postgres.json")
product=$(psql -qtAc "INSERT INTO products (name, price_cents, stock) VALUES ('speed', 1999, 1000000000) RETURNING id" "$database")
cat >"$scratch/order.lua" <<LUA
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Idempotency-Key"] = "00000000-0000-4000-8000-000000000000"
wrk.body = '{"user_id":1,"product_id":$product,"quantity":1}'
LUA

best=1 top=0
for connections in 1 2 4 8 16; do
    rate=$(hot_row $connections)
    echo "pgbench, one hot row, $connections connections: $rate orders/s"
    if awk -v a="$rate" -v b="$top" 'BEGIN {exit !(a > b)}'; then best=$connections top=$rate; fi
done

serve stage4-async GUARD=noop
for _ in $(seq "$pairs"); do
    a=$(orders qps --no-audit --product "$product")
    b=$(wrk_rate)
    echo "noop: loadtest $a, wrk $b"
    ratio "$a" "$b" >>"$scratch/wrk"
done
stop

for what in "stage4-async conditional 8" "stage3-threads mutex 8" "stage2-multiproc redlock 8"; do
    read -r stage guard connections <<<"$what"
    serve "$stage" GUARD="$guard" DB_CONNS="$connections"
    for _ in $(seq "$pairs"); do
        a=$(orders orders_per_second)
        b=$(hot_row "$best")
        echo "$stage $guard: $a, pgbench $b"
        ratio "$a" "$b" >>"$scratch/$stage"
    done
    stop
done

echo
echo "$(date -u +%F), $(nproc) cores, $(go version | cut -d' ' -f3), medians of $pairs pairs, $users users:"
report "loadtest on noop / wrk -t1 -c$users" "$scratch/wrk"
report "stage 4 conditional / pgbench ($best connections)" "$scratch/stage4-async"
report "stage 3 mutex / pgbench" "$scratch/stage3-threads"
report "stage 2 redlock / pgbench" "$scratch/stage2-multiproc"
