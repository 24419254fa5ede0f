//! Calls into rust-rdkafka that panic on bytes that are not UTF-8, turned into `None`, without a panic message.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read`; `None` when it panicked. Other threads' panics, and this thread's outside of `read`, are told as ever.
pub(super) fn quietly<T>(read: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    // The readers we call only look at memory that C owns: nothing is left half-changed behind.
    let read = catch_unwind(AssertUnwindSafe(read));
    QUIET.set(false);
    read.ok()
}

#[cfg(test)]
mod tests {
    use super::quietly;

    #[test]
    fn a_panic_becomes_none_and_a_value_stays() {
        assert_eq!(quietly(|| String::from_utf8(vec![0xff]).expect("not UTF-8")), None);
        assert_eq!(quietly(|| 7), Some(7));
    }
}
