//! One neighbour each: an adapter translates a port into what that neighbour speaks, and knows no other adapter.

pub mod app;
