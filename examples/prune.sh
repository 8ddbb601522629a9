#!/bin/sh
# Submit a job with curl, wait for its end, download its files.
#
#   SECATEUR_URL=http://127.0.0.1:8321 SECATEUR_KEY=sct_... examples/prune.sh minilm wanda 0.5 ./pruned
#
# Needs curl and jq.
set -eu
model=$1 method=$2 sparsity=$3 destination=$4
url=${SECATEUR_URL:-http://127.0.0.1:8321}

call() {
    curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused \
        --header "Authorization: Bearer $SECATEUR_KEY" "$@"
}

# The key makes a repeated request harmless: the job is submitted once. It is new in every run of
# this script, unless IDEMPOTENCY_KEY gives one.
key=${IDEMPOTENCY_KEY:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
# Not in one pipe with jq: its status would hide that of curl.
submitted=$(call "$url/v1/jobs" \
    --header "Content-Type: application/json" \
    --header "Idempotency-Key: $key" \
    --data "$(jq --null-input --arg model "$model" --arg method "$method" \
        --argjson sparsity "$sparsity" '$ARGS.named')")
job=$(printf %s "$submitted" | jq --raw-output .id)
echo "job $job"

while :; do
    seen=$(call "$url/v1/jobs/$job?wait=30")
    case $(printf %s "$seen" | jq --raw-output .status) in
        succeeded) break ;;
        failed | cancelled)
            printf %s "$seen" | jq .error >&2
            exit 1
            ;;
    esac
done

mkdir -p "$destination"
call "$url/v1/jobs/$job/archive" | tar --extract --strip-components 1 --directory "$destination"
echo "files in $destination"
