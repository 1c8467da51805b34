#!/bin/sh
# Starts Kamailio and keeps its list of edges equal to what the name $EDGES resolves to, so that edges may come
# and go (docker compose up --scale edge=4, a headless service) without anybody editing anything.
set -eu

list=/run/kamailio/edges.list
name=${EDGES:-edge}
port=${EDGE_PORT:-5060}

# Published on all addresses: which one users reach is not known.
[ "${PUBLIC_ADDRESS:-}" = 0.0.0.0 ] && PUBLIC_ADDRESS=

# What users send in a dialog goes to the address in Record-Route: PUBLIC_ADDRESS, if they do not reach this one.
advertised=${PUBLIC_ADDRESS:+/$PUBLIC_ADDRESS:${PUBLIC_PORT:-5060}}
# shellcheck disable=SC2046 # one word for each
addresses=$(printf '%s\n' 127.0.0.1 $(hostname -I) | grep -v :)
sockets=
# Those for edges come first: Kamailio 5.6 advertises the address of one -l for all that follow it, too.
for place in 5080 "5060$advertised"; do
    for address in $addresses; do
        sockets="$sockets -l udp:$address:$place -l tcp:$address:$place"
    done
done

resolve() {
    getent ahostsv4 "$name" | awk -v port="$port" '$2 == "STREAM" {print "1 sip:" $1 ":" port ";transport=udp"}' | sort -u
}

# The edges that Kamailio has, in the form of the list.
loaded() {
    kamcmd -s unix:/run/kamailio/kamailio_ctl dispatcher.list | awk '$1 == "URI:" {print "1 " $2}' | sort -u
}

until resolve > "$list.new" && [ -s "$list.new" ]; do
    echo "waiting for a host named $name" >&2
    sleep 1
done
mv "$list.new" "$list"

# shellcheck disable=SC2086 # one word for each
kamailio -f /etc/kamailio/kamailio.cfg $sockets -DD -E -m 64 -M 8 &
child=$!
trap 'kill -TERM $child; wait $child; exit 0' TERM INT

while kill -0 $child 2>/dev/null; do
    sleep 1 &
    wait $! || true
    # An empty response means a name server in trouble, not the end of all edges: the old list stays.
    if resolve > "$list.new" && [ -s "$list.new" ]; then
        cmp -s "$list" "$list.new" || echo "edges: $(tr '\n' ' ' < "$list.new")" >&2
        mv "$list.new" "$list"
        # Kamailio refuses to reload twice in quick succession: what counts is what it has.
        loaded > "$list.loaded" || continue
        cmp -s "$list" "$list.loaded" || kamcmd -s unix:/run/kamailio/kamailio_ctl dispatcher.reload >/dev/null || true
    fi
done
wait $child
