# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Processes of a network on this machine. A script sources it after messages.sh, sets `logs` to the
# folder of their logs and `work` to one that goes with them, and calls stop_at_end.

started=() names=()

# Has all processes stopped and the folder removed when the script ends, in whatever way.
stop_at_end() {
    : "${logs:?is the folder of logs}" "${work:?is a folder for the time of the script}"
    trap stop_all EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

stop_all() {
    trap - EXIT INT TERM
    halt
    rm -rf "$work"
}

# Starts a process with a log of its own.
start() { # name, command...
    local name="$1"
    shift
    "$@" >"$logs/$name.log" 2>&1 &
    started+=($!) names+=("$name")
}

# Stops all processes. Members end before the node that they talk to, which came first, and may ask
# it a last time. Those that do not end are killed.
halt() {
    local i
    [ ${#started[@]} -gt 0 ] || return 0
    for ((i = ${#started[@]} - 1; i >= 0; i--)); do kill -TERM "${started[i]}" 2>/dev/null || true; done
    for ((i = 0; i < 50; i++)); do
        kill -0 "${started[@]}" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "${started[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    started=() names=()
}

# Fails where a process that was started is gone.
alive() {
    local i
    for i in "${!started[@]}"; do
        kill -0 "${started[i]}" 2>/dev/null || fail_with_log "${names[i]}" "${names[i]} ended early"
    done
}

# Fails with the end of a log.
fail_with_log() { # name of the log, message
    echo "--- $logs/$1.log" >&2
    tail -n 15 "$logs/$1.log" >&2
    echo "---" >&2
    fail "$2; above is the end of its log. If that has no reason, the machine ran out of memory"
}

# Waits until a command succeeds.
wait_until() { # event, seconds, name of a log, command...
    local event="$1" seconds="$2" log="$3" end
    shift 3
    end=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        alive
        [ "$SECONDS" -lt "$end" ] || fail_with_log "$log" "waited $seconds seconds in vain until $event"
        sleep 0.5
    done
}

# Fails where another program listens on a port of loopback.
need_port() { # port, flag by which another one is chosen
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
        fail "port $1 is in use, perhaps by another network; stop that program, or choose another port with $2"
    fi
}

# Prints a port of loopback that nobody listens on.
free_port() {
    python3 - <<'PORT'
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1])
PORT
}
