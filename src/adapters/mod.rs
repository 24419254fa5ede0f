//! One neighbour each; none knows another, and none knows the pipeline.

pub mod admin;
//! One neighbour each: an adapter translates a port into what that neighbour speaks, and knows no other adapter.

pub mod app;
//! One neighbour each; none knows another.

pub mod claims;
//! The neighbours, one folder each: an adapter translates and waits, decides nothing, and names no other adapter.

pub mod kafka;
