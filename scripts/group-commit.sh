#!/bin/bash
# The group-commit table of docs/performance.md. Needs go and jq, and for the last rows psql. Every part stops by itself.
#   PAIRS=3 scripts/group-commit.sh [part...]     parts: hot one-goroutine products latency flash restarts decay rows
# Keep the machine idle meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${PAIRS:-3} seconds=${SECONDS_EACH:-4} rows=${ROWS:-10000000}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
go build -o "$scratch/loadtest" ./loadtest
parts=("$@")
[ $# -gt 0 ] || parts=(hot one-goroutine products latency flash restarts decay rows)

# compare ARGUMENTS... measures stages without user latency and leaves result.json in $scratch/out.
compare() {
    "$scratch/loadtest" compare --user-latency 0s --duration "${seconds}s" --out "$scratch/out" "$@" >"$scratch/log" 2>&1 ||
        { cat "$scratch/log" >&2; return 1; }
}

# of CEILING prints the median of the runs' ratios to that ceiling, with their range.
of() {
    jq -r --arg name "$1" '[.runs[].ceilings[] | select(.name == $name) | .ratio] | sort
        | "\(.[length / 2 | floor] * 100 | round / 100) (\(.[0] * 100 | round / 100) to \(.[-1] * 100 | round / 100))"' "$scratch/out/result.json"
}

# figures PATH prints the values at that path of every run, one a line.
figures() { jq -r ".runs[] | $1" "$scratch/out/result.json"; }

median() { sort -g | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

hot() {
    local users
    for users in 1024 64; do
        compare --ceilings --stages 5 --workload sustained --users "$users" --repeat "$pairs"
        echo "stage 5, one hot product, $users users: of no-op $(of http_noop_per_second), of one statement $(of hot_row_single_per_second)"
    done
}

one-goroutine() {
    local stage
    for stage in 1 4; do
        compare --ceilings --stages "$stage" --guards batch --workload sustained --users 1024 --repeat "$pairs" --stage-env QUEUE_CAP=2000
        echo "stage $stage with batch, 1024 users: of one statement $(of hot_row_single_per_second)"
    done
}

products() {
    local skew one many
    for skew in 0 0.99; do
        for _ in $(seq "$pairs"); do
            compare --stages 5 --workload sustained --users 1024
            one=$(figures .orders_per_second)
            compare --stages 5 --workload sustained --users 1024 --products 1000 --skew "$skew"
            many=$(figures .orders_per_second)
            awk -v a="$many" -v b="$one" 'BEGIN {print a / b}'
        done | sort -g >"$scratch/products"
        echo "stage 5, 1,000 products, skew $skew, of one hot product: $(median <"$scratch/products") ($(head -1 "$scratch/products") to $(tail -1 "$scratch/products"))"
    done
}

latency() {
    local guard
    for _ in $(seq "$pairs"); do
        for guard in batch conditional; do
            compare --stages 5 --guards "$guard" --workload sustained --users 64
            figures .latency_ms.p99 >>"$scratch/p99-$guard"
        done
    done
    echo "p99 of an accepted order, 64 users: batch $(median <"$scratch/p99-batch") ms, conditional $(median <"$scratch/p99-conditional") ms"
}

flash() {
    local runs=${FLASH_RUNS:-50}
    compare --stages 5 --guards batch --workload flash-sale --stock 1000 --users 10000 --duration 60s --repeat "$runs" || true
    figures '[.audit.verdict, .audit.sold, .audit.undersold, .failed, .unknown] | @tsv' | sort | uniq -c |
        awk '{print "flash sale of 1,000 units, 10,000 buyers: " $1 " runs " $2 ", sold " $3 ", undersold " $4 ", failed " $5 ", unknown " $6}'
}

restarts() {
    local i
    for i in $(seq "${STARTS:-20}"); do # each on a fresh database
        compare --stages 5 --workload sustained --users 256 --duration 3s
        figures '"start '"$i"': \(.orders_per_second | round) orders/s, by second \([.series[]?.accepted] | map(tostring) | join(" "))"'
    done
}

decay() {
    compare --stages 5 --workload sustained --users 256 --duration 60s
    jq -r '[.runs[0].series[] | .accepted] | .[1:61] | (.[0:6] | add) as $first | (.[-6:] | add) as $last
        | "last of first tenth of a minute: \($last / $first * 100 | round / 100)"' "$scratch/out/result.json"
}

# rows needs a database of its own, which it fills: DATABASE_URL, of a server that may be written to.
rows() {
    [ -n "${DATABASE_URL:-}" ] || { echo "orders with $rows rows: set DATABASE_URL to a throw-away database to measure it"; return; }
    local a b
    for _ in $(seq "$pairs"); do
        b=$(rate)
        echo "$b" >>"$scratch/empty"
    done
    psql -q "$DATABASE_URL" -c "INSERT INTO orders (user_id, product_id, quantity, total_cents, status, idempotency_key, request_hash)
        SELECT 1 + n % 10000, 1, 1, 1999, 'created', gen_random_uuid()::text, sha256(n::text::bytea) FROM generate_series(1, $rows) AS n" -c "VACUUM ANALYZE orders" -c "CHECKPOINT"
    for _ in $(seq "$pairs"); do
        a=$(rate)
        echo "$a" >>"$scratch/full"
    done
    echo "orders with $rows rows, of an empty one: $(awk -v a="$(median <"$scratch/full")" -v b="$(median <"$scratch/empty")" 'BEGIN {print a / b}')"
}

# rate prints the orders per second of stage 5 on DATABASE_URL.
rate() {
    local pid
    ADDR=127.0.0.1:18090 LOG_LEVEL=warn "$scratch/loadtest" serve stage5-hybrid >>"$scratch/log" 2>&1 &
    pid=$!
    curl -s -o "$scratch/ready" --retry 60 --retry-all-errors --retry-delay 1 --fail http://127.0.0.1:18090/ready
    "$scratch/loadtest" run --target http://127.0.0.1:18090 --workload sustained --users 1024 --duration "${seconds}s" --out "$scratch/out" >>"$scratch/log" 2>&1
    figures .orders_per_second
    kill "$pid"
    wait "$pid" || true
}

echo "$(date -u +%F), $(nproc) cores, $(go version | cut -d' ' -f3), $pairs pairs of ${seconds} s"
for part in "${parts[@]}"; do "$part"; done
