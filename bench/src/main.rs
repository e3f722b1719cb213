//! How fast bulla is, as ratios to what it is built on, measured in turn in the same process.
//!
//! `bulla-bench [stream|small|attest|report|provider] [--quick] [--soak=SECONDS]`; `--quick` only shows that it runs. `README.md` says what is in each figure.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark that fails ends")]

mod attest;
mod attest_report;
mod bare;
mod clock;
mod machine;
mod provider;
mod small;
mod stream;
mod turns;

use std::env;

use turns::Effort;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let effort = if has("--quick") { Effort::QUICK } else { Effort::FULL };
    let all = !["stream", "small", "attest", "report", "provider"].into_iter().any(has);
    if all || has("stream") {
        stream::run(&effort);
    }
    if all || has("small") {
        small::run(&effort);
    }
    if all || has("attest") {
        attest::run(&effort);
    }
    if all || has("report") {
        attest_report::run(&effort);
    }
    if has("provider") {
        let seconds = arguments.iter().find_map(|argument| argument.strip_prefix("--soak="));
        provider::run(&effort, has("--quick"), seconds.map(|seconds| seconds.parse().expect("seconds")));
    }
}
