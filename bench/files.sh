#!/usr/bin/env bash
# Whole commands on files in memory: bulla against cp, age and rage, which are installed if they are missing. `--quick` only
# shows that it runs, with those of them that are there. README.md says what is measured.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(python3 time)
[[ " $* " == *" --quick "* ]] || packages+=(age)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update
    "${as_root[@]}" apt-get install --yes --no-install-recommends "${missing[@]}"
fi
profile=release
if [[ " $* " != *" --quick "* ]]; then
    command -v rage >/dev/null || cargo install --locked rage --version 0.12.1
    profile=dist
fi

cargo build --profile "$profile" --locked --bin bulla
BULLA="${CARGO_TARGET_DIR:-target}/$profile/bulla" exec python3 bench/files.py "$@"
