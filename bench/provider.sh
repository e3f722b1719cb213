#!/usr/bin/env bash
# The provider as a process, with clients beside it: `[--quick] [--soak=SECONDS]`. README.md says what is measured.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=dist
[[ " $* " != *" --quick "* ]] || profile=release
cargo build --profile "$profile" --locked -p bulla-cli -p bulla-bench
exec "${CARGO_TARGET_DIR:-target}/$profile/bulla-bench" provider "$@"
