//! Keys, header names and values as they travel to the app: only what HTTP allows, and back to the same bytes.
#![no_main]

use kafka_once::adapters::app::fuzzing::encoded;
use kafka_once::domain::percent::percent_decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for text in encoded(data) {
        assert!(text.iter().all(|byte| (0x20..=0x7E).contains(byte)), "{text:?}");
        assert!(text.first() != Some(&b' ') && text.last() != Some(&b' '), "{text:?}");
        let text = std::str::from_utf8(&text).expect("ascii");
        assert_eq!(percent_decode(text).as_deref(), Some(data), "{text:?}");
    }
});
