//! How the ledger app answers one request: well, badly, late or never.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// One answer, made by a behaviour.
pub struct Answer {
    pub(super) what: What,
    pub(super) applies: bool,
    pub(super) hold: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

pub(super) enum What {
    Respond { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    Raw(Vec<u8>),
    RawReset(Vec<u8>),
    Drip(Vec<u8>, Duration),
    Endless,
    Reset,
    Never,
}

impl Answer {
    fn new(what: What, applies: bool) -> Self {
        Self { what, applies, hold: None }
    }

    /// A status with an empty body; a 2xx applies the effect, anything else does not.
    pub fn status(status: u16) -> Self {
        let what = What::Respond { status, headers: Vec::new(), body: Vec::new() };
        Self::new(what, (200..300).contains(&status))
    }

    /// Adds a header to a status.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let What::Respond { headers, .. } = &mut self.what {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Sets the body of a status.
    pub fn body(mut self, content: impl Into<Vec<u8>>) -> Self {
        if let What::Respond { body, .. } = &mut self.what {
            *body = content.into();
        }
        self
    }

    /// These bytes instead of an answer, then the connection ends. Nothing is applied.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(What::Raw(bytes.into()), false)
    }

    /// The same, but the connection ends with a reset.
    pub fn raw_then_reset(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(What::RawReset(bytes.into()), false)
    }

    /// These bytes instead of an answer, one at a time. Nothing is applied.
    pub fn drip(bytes: impl Into<Vec<u8>>, pause: Duration) -> Self {
        Self::new(What::Drip(bytes.into(), pause), false)
    }

    /// A 200 whose body never ends. Nothing is applied.
    pub fn endless() -> Self {
        Self::new(What::Endless, false)
    }

    /// The connection is reset. Nothing is applied.
    pub fn reset() -> Self {
        Self::new(What::Reset, false)
    }

    /// No answer; the connection stays open until the other side ends it. Nothing is applied.
    pub fn never() -> Self {
        Self::new(What::Never, false)
    }

    /// Overrules whether the effect is applied, e.g. applied and then reset.
    pub fn applied(mut self, applies: bool) -> Self {
        self.applies = applies;
        self
    }

    /// Holds the answer back until `release` is done; the effect is applied before.
    pub fn held(mut self, release: impl Future<Output = ()> + Send + 'static) -> Self {
        self.hold = Some(Box::pin(release));
        self
    }
}
