//! The app's answers from any bytes, whole and in pieces: no panic, and the same judgement.
#![no_main]

use kafka_once::adapters::app::fuzzing::answer;
use kafka_once::domain::verdict::judge;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let whole = answer(bytes, bytes.len());
    let pieces = answer(bytes, usize::from(piece % 32));
    match (&whole, &pieces) {
        (Ok(Some(whole)), Ok(Some(pieces))) => assert_eq!((judge(&whole.0), whole.1), (judge(&pieces.0), pieces.1)),
        (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
        // A head that is broken further on may be found broken sooner or later, never good.
        (Ok(None), Err(_)) | (Err(_), Ok(None)) => {}
        _ => panic!("{whole:?} {pieces:?}"),
    }
});
