#!/usr/bin/env bash
# Anything that reads a password from a file, here restic: a backup that only this program on this machine restores.
# Needs bulla (or BULLA=path) and the Debian package restic.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export RESTIC_REPOSITORY=$work/repository
restic=(restic --quiet --no-cache)

# Runs restic with a generation of the ring.
backup() { "$BULLA" exec --key "backup.ring:$1=passphrase" -- "${restic[@]}" --password-file '{key}' "${@:2}"; }

say 'A repository under a key that nobody types'
"$BULLA" key new backup.ring
mkdir diary
echo 'attack at dawn' >diary/today
backup 1 init
backup 1 backup diary
nowhere 'attack at dawn' repository

say 'Restored'
backup 1 restore latest --target restored
is 'attack at dawn' cat "$(find restored -name today)"

say 'Another password does not open it'
"$BULLA" key new other.ring
refused "$BULLA" exec --key other.ring=passphrase -- "${restic[@]}" --password-file '{key}' snapshots

say 'A new password'
"$BULLA" key rotate backup.ring
"$BULLA" exec --key backup.ring:1=passphrase --key backup.ring:2=passphrase -- \
    "${restic[@]}" --password-file '{key:1}' key passwd --new-password-file '{key:2}'
backup 2 check
refused backup 1 snapshots
"$BULLA" key retire backup.ring 1
