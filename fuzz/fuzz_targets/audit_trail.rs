//! libFuzzer's door to [`cellgate_fuzz::audit_trail`]; what is tried and what must hold stands there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cellgate_fuzz::audit_trail(data);
});
