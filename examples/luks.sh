#!/usr/bin/env bash
# A LUKS2 volume whose key only this program on this machine has, and whose header is judged before it is believed.
# Needs bulla (or BULLA=path) and the Debian package cryptsetup-bin. It opens nothing for real (--test-passphrase), so it needs
# neither root nor a device mapper; without that option and with a name, the same commands do.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
PATH=$PATH:/usr/sbin

say 'A volume in a file, formatted with the key of a ring'
"$BULLA" key new disk.ring
truncate --size 32M disk
# The key is random, so there is nothing to stretch.
fast=(--pbkdf pbkdf2 --pbkdf-force-iterations 1000)
"$BULLA" exec --key disk.ring -- cryptsetup luksFormat --batch-mode --type luks2 "${fast[@]}" --key-file '{key}' disk

# Judges the header of a disk and opens the volume by the judged copy. Whatever lies on the disk by then plays no part.
open() {
    "$BULLA" exec --key "disk.ring:$1" --luks "$2" -- \
        cryptsetup open --test-passphrase --header '{luks}' --key-file '{key}' disk
}

say 'Opened by the judged copy of its header'
open 1 disk
echo '   opened'

say 'Whoever can write the disk names the null cipher: cryptsetup has no objection, bulla has'
cp disk evil
python3 - <<'PYTHON'
import hashlib
with open("evil", "r+b") as disk:
    for offset in 0, 16384:
        disk.seek(offset)
        header = bytearray(disk.read(16384))
        text = header[4096:].rstrip(b"\0").replace(b'"iv_tweak":"0","encryption":"aes-xts-plain64"',
                                                   b'"iv_tweak":"0","encryption":"cipher_null-ecb"')
        header[4096:] = text.ljust(16384 - 4096, b"\0")
        header[448:512] = bytes(64)
        header[448:480] = hashlib.sha256(header).digest()
        disk.seek(offset)
        disk.write(header)
PYTHON
cryptsetup luksDump evil | grep -q 'cipher: cipher_null-ecb' || surprise 'the header was not changed'
"$BULLA" exec --key disk.ring -- cryptsetup open --test-passphrase --key-file '{key}' evil || surprise 'cryptsetup objected'
refused open 1 evil

say 'A second key, and then no longer the first'
"$BULLA" key rotate disk.ring
"$BULLA" exec --key disk.ring:1 --key disk.ring:2 -- \
    cryptsetup luksAddKey --batch-mode "${fast[@]}" --key-file '{key:1}' disk '{key:2}'
open 1 disk                               # whatever happens in between, one of them opens it
open 2 disk
"$BULLA" exec --key disk.ring:1 -- cryptsetup luksRemoveKey --batch-mode disk '{key}'
open 2 disk
refused open 1 disk
"$BULLA" key retire disk.ring 1
echo '   opened with the second key alone'

say 'Kept sealed, the header cannot be put back to an older one by the disk either'
cryptsetup luksHeaderBackup disk --header-backup-file header
"$BULLA" seal --context disk-header -o header.sealed header
rm header
"$BULLA" unseal --context disk-header header.sealed | open 2 -
echo '   opened by the sealed header'
