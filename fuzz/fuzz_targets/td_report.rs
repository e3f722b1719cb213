//! The target `td_report` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bulla_fuzz::td_report(data);
});
