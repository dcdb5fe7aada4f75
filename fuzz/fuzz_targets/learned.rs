//! libFuzzer's door to [`cellgate_fuzz::learned`]; what is tried and what must hold stands there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cellgate_fuzz::learned(data);
});
