//! The target `tpm_quote` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bulla_fuzz::tpm_quote(data);
});
