//! One neighbour each: an adapter translates and waits, decides nothing, and names no other adapter.

pub mod admin;
pub mod app;
pub mod claims;
pub mod collector;
pub mod kafka;
