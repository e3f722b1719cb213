//! The target `key_request` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bulla_fuzz::key_request(data));
