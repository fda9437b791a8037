# SPDX-License-Identifier: Apache-2.0
# Steps of demo.sh --sources, which sources this file: from services to data, and from a sentence to
# the models that learned from it.

# Waits until the log of a process has as many lines with a pattern as are asked for.
wait_for_lines() { # name, pattern, number
    wait_until "its log has $3 lines with $2" 300 "$1" has_lines "$@"
}
has_lines() {
    [ "$(grep -c "$2" "$logs/$1.log")" -ge "$3" ]
}

# Acquires data of all kinds from the services, into $work/acquired.
acquire_sources() {
    say "starting local stand-ins of a hub, a web site with a feed, arXiv, and Stack Exchange"
    start services "$POL_BIN/pol-mock-services" --corpus "$POL_CORPUS" --port 0
    wait_for_lines services '^serving' 1
    local address
    address="$(sed -n 's/^serving .* at //p' "$logs/services.log")"
    say "services: $address"
    {
        "$trainer" model import trainer/crates/import/tests/fixtures/llama.gguf --out "$work/small"
        # Its context of 32 tokens is too short for a document.
        "$trainer" model adapt "$work/small" --out "$work/pretrained" --context 512
    } >"$logs/pretrained.log" 2>&1
    cp "$data/tokenizer.json" "$work/tokenizer.json"
    sed "s,http://127.0.0.1:9955,$address," scripts/demo-data/acquire.toml >"$work/acquire.toml"
    say "acquiring data from sources of all four kinds (under a minute)"
    "$trainer" data acquire --config "$work/acquire.toml" "${json[@]}" |
        if [ ${#json[@]} -gt 0 ]; then cat >"$logs/acquire.log"; else tee "$logs/acquire.log"; fi
}

# Prints a part of the event of each manifest that the provider registered.
registered() { # filter of jq
    jq -Rr "fromjson? | select(.event == \"registered\") | $1" "$logs/provider.log"
}

# Registers the data as a provider who serves them, and admits them as governance.
provide_sources() {
    say "registering the data as trainer-16, who serves them, and admitting them by their kinds"
    cat >>"$work/acquire.toml" <<'PROVIDER'
[provider]
base_path = "provider"
min_shards = 1
PROVIDER
    start provider "$trainer" data acquire --config "$work/acquire.toml" --dev-account trainer-16 \
        --watch --json
    local manifests manifest kind
    manifests="$(cat "$work"/acquired/*/data/ingest.json |
        jq -s '[.[] | (.train, .held_out) | select(.shards > 0)] | length')"
    wait_for_lines provider '"event":"registered"' "$manifests"
    while read -r manifest kind; do
        "$trainer" data admit "$manifest" --kind "$kind" --dev-account alice
    done < <(registered '"\(.manifest) \(.kind)"') >"$logs/admit.log"
}

# Prints the kinds of the shards that each round trained on, in the order of rounds.
show_order() {
    local round
    say "shards that each round trained on, by kind"
    for round in $(jq '.rounds[].number' "$out/summary.json"); do
        "$trainer" data trace --round "$round" --json >"$work/round-$round.jsonl"
        # The shards are in the order of manifests, which were registered in the order of kinds.
        jq -r .kind "$work/round-$round.jsonl" | uniq -c | awk -v round="$round" \
            '{ printf "%s%d %s", (NR > 1 ? ", " : "round " round ": "), $1, $2 } END { print "" }'
    done
}

# Follows a sentence of a shard back to its page and forward to models. Has a proof about the page
# verified by a process that has nothing but the proof, the page, and the chain.
follow_sources() {
    local pages="$work/acquired/pages/data" page="$out/page.html" proof="$out/proof.json"
    local manifest shard address sentence
    show_order
    manifest="$(registered 'select(.source == "pages" and (.held_out | not)) | .manifest')"
    shard="$(jq -rn --argjson manifest "$manifest" 'first(inputs | .shard
        | select(.manifest == $manifest) | "\(.manifest)/\(.index)")' "$work"/round-*.jsonl)"
    if [ -z "$shard" ]; then
        say "no page of the site was trained on in $rounds round(s); give --rounds a larger number"
        return
    fi
    address="$("$trainer" data trace "$shard" --data "$pages" --json |
        jq -r '.documents[0].origin.location')"
    curl -sSf "$address" -o "$page"
    sentence="$(sed -n '/^<p>[^&]\{80,\}\.<\/p>$/ { s,</*p>,,g; p; q }' "$page" | cut -c -70)"
    say "following '$sentence'"
    "$trainer" data trace --data "$pages" --passage "$sentence"
    "$trainer" data prove "$page" --data "$pages" --out "$proof"
    say "verifying the proof elsewhere, with the page and the chain alone"
    (cd / && env -i "$trainer" data verify "$proof" --document "$page" --node "$POL_NODE")
    if command -v python3 >/dev/null; then
        say "verifying it by a program that has no code of pol"
        scripts/reference/verify-proof.py "$proof" --document "$page" --node "$POL_NODE"
    fi
    # One byte of the address in the record is another.
    sed 's,http://,httq://,' "$proof" >"$work/forged.json"
    if "$trainer" data verify "$work/forged.json" --document "$page" 2>"$logs/forged.log"; then
        fail "a forged proof was accepted"
    fi
    say "with another byte it is refused: $(tail -n 1 "$logs/forged.log")"
    say "summary of the data"
    "$trainer" data summary "$work/acquired" --svg "$out/data.svg"
}
