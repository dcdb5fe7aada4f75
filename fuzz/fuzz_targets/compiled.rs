//! libFuzzer's door to [`cellgate_fuzz::compiled`]; what is tried and what must hold stands there.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cellgate_fuzz::compiled(data);
});
