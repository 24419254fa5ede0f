//! One neighbour each; none knows another, and none knows the pipeline.

pub mod admin;
