#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rackconnect_agent::fuzz::token_cache(bytes));
