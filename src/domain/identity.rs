//! What a message is called.

use std::sync::Arc;

/// A message ID as it stands on the wire: printable ASCII, everything else percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WireId(pub Arc<str>);
