//! libFuzzer's door to [`cellgate_fuzz::last_good`]; what is tried and what must hold stands there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cellgate_fuzz::last_good(data);
});
