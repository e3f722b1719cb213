#!/usr/bin/env bash
# A guest moves its disk from an earlier key provider to this one: both run side by side, the disk gets a second key, the second key is
# tried, and only then the first one goes. Broken off anywhere, one of them opens the disk. On a simulated machine.
# Needs bulla (or BULLA=path) and the Debian packages cryptsetup-bin, python3 and python3-nacl; the volume is opened with
# --test-passphrase, so neither root nor a device mapper is needed.
# Debian's python3, which has the packages of Debian.
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source "$here/common.sh"
unset BULLA_MACHINE
PATH=$PATH:/usr/sbin

servers=()
end() { for server in "${servers[@]}"; do kill "$server"; wait "$server" || true; done; }
at_exit+=(end)
serve() {
    "$BULLA" provider serve --config "$1.toml" 2>"$1.log" &
    servers+=($!)
    until "$BULLA" provider status --config "$1.toml" >/dev/null 2>&1; do
        kill -0 $! || { cat "$1.log" >&2; surprise 'the provider does not start'; }
        sleep 0.1
    done
}

say 'The earlier provider, and the disk that it gave the key of'
# The stand-in speaks the wire of the earlier ones, with their formula, and the client is none of ours.
printf 'machine = "sim:machine"\nstate_dir = "earlier"\n[listen]\nlegacy = "127.0.0.1:0"\n' >earlier.toml
serve earlier
port=$(sed -n 's/.*legacy clients are served on .*:\([0-9]*\)$/\1/p' earlier.log)
earlier() { /usr/bin/python3 "$here/../tests/python/legacy_client.py" "$BULLA" machine default 127.0.0.1 "$port"; }
fast=(--pbkdf pbkdf2 --pbkdf-force-iterations 1000)
truncate --size 20M disk
cryptsetup luksFormat --batch-mode --type luks2 "${fast[@]}" --key-file <(earlier) disk

say 'This provider beside it'
printf 'machine = "sim:machine"\nstate_dir = "present"\n[listen]\nunix = "present.sock"\n' >present.toml
serve present
id=$(sed -n 's/.*provider id: //p' present.log)
with_key() {                                                 # cryptsetup in the guest, with the key of this provider
    "$BULLA" --machine sim-td:machine exec --request disks/data:disk --provider unix:present.sock --provider-id "$id" -- \
        cryptsetup --batch-mode "$@"
}
refused with_key open --test-passphrase --key-file '{key}' disk

say '1. A second key slot, for the key of this provider'
with_key luksAddKey "${fast[@]}" --key-file <(earlier) disk '{key}'

say '2. Tried, while the first still opens the disk'
with_key open --test-passphrase --key-file '{key}' disk
cryptsetup open --test-passphrase --key-file <(earlier) disk

say '3. The first key slot goes'
cryptsetup luksRemoveKey --batch-mode disk --key-file <(earlier)
with_key open --test-passphrase --key-file '{key}' disk
earlier >key
refused cryptsetup open --test-passphrase --key-file key disk
rm key
echo '   this provider alone opens the disk: end the other one when all guests have moved'
