# What the examples share: an empty folder to work in, a simulated machine, and a way to insist.
# shellcheck shell=bash
set -euo pipefail

BULLA=$(command -v "${BULLA:-bulla}") || { echo 'bulla is not on the PATH: set BULLA to it' >&2; exit 1; }
BULLA=$(realpath "$BULLA")
work=$(mktemp -d)
at_exit=()
leave() {
    for command in "${at_exit[@]}"; do $command; done
    rm -rf "$work"
}
trap leave EXIT
cd "$work"
export HOME=$work                         # no settings of yours, no history, no cache

say() { printf '\n== %s\n' "$*"; }
surprise() { printf 'surprise: %s\n' "$*" >&2; exit 1; }

# Runs a command that has to fail, and shows what it says.
refused() {
    if "$@" </dev/null >refusal 2>&1; then surprise "this did not fail: $*"; fi
    sed 's/^/   refused: /' refusal
}

# The command's output has to be this line.
is() {
    local wanted=$1 found
    shift
    found=$("$@" </dev/null) || surprise "this failed: $*"
    [ "$found" = "$wanted" ] || surprise "$* gave '$found' instead of '$wanted'"
    printf '   %s\n' "$found"
}

# None of these files or folders may hold the text.
nowhere() {
    local text=$1
    shift
    if grep --recursive --text --quiet --fixed-strings -e "$text" "$@"; then surprise "'$text' lies open in $*"; fi
    printf '   not in %s: %s\n' "$*" "$text"
}

"$BULLA" sim new machine                  # on a real one: BULLA_MACHINE=sgx
export BULLA_MACHINE=sim:$work/machine
