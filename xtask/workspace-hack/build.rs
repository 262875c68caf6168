//! Does nothing: cargo counts build dependencies only of packages that have a build script.

fn main() {}
