//! Values of claims from any bytes: no panic, and what is read is written as the same.
#![no_main]

use kafka_once::domain::claim_codec::{decode, encode, is_same};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(value) = decode(data) {
        let written = encode(&value);
        assert_eq!(decode(&written), Some(value));
        assert!(is_same(&written, &written));
    }
});
