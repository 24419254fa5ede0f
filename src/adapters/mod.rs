//! The neighbours, one folder each: an adapter translates and waits, decides nothing, and names no other adapter.

pub mod kafka;
