//! The target `event_log` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bulla_fuzz::event_log(data);
});
