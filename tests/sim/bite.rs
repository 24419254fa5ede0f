//! The checks bite.
