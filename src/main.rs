//! agentry
fn main() {}
