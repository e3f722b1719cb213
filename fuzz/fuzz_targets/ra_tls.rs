//! The target `ra_tls` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bulla_fuzz::ra_tls(data);
});
