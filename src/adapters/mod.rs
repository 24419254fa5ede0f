//! One neighbour each; none knows another.

pub mod claims;
